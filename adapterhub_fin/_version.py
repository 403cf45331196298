"""The version of the three packages, which are released as one."""

__version__ = "0.1.0"
