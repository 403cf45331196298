"""Fails on import, as a plugin does whose own dependency was upgraded under it."""

raise RuntimeError("the pricing library that this plugin needs has no `curve` any more")
