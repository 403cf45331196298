"""Define `ahf serve inference`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapterhub_fin.cli.amounts import Size


@click.command("inference")
@click.option("--base", required=True, metavar="BASE", help="The base: a folder, a Hub id or a short name as minilm.")
@click.option(
    "--bytes", "size", type=Size(), default="1GiB", show_default=True, help="What adapters may take in memory."
)
@click.option("--pin", multiple=True, metavar="REFERENCE", help="Load it first and keep it in memory; may be repeated.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8781, show_default=True, help="The port; 0 takes a free one."
)
@click.option("--public", is_flag=True, help="Allow an address that other machines can reach; needs --token-file.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Answer only to bearer tokens of this file: a name and a token on each line.",
)
@click.option("--max-batch", type=click.IntRange(min=1), default=64, show_default=True, help="Rows computed together.")
@click.option("--max-wait", default="2ms", show_default=True, help="How long a row waits for others to join it.")
@click.option(
    "--max-queue",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="Rows that may wait; further ones get 429.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Threads that compute rows.")
@click.option("--writers", type=click.IntRange(min=1), default=1, show_default=True, help="Threads that write texts.")
@click.option(
    "--max-streams", type=click.IntRange(min=1), default=8, show_default=True, help="Texts that are streamed at once."
)
@click.option("--timeout", default="60s", show_default=True, help="The longest that a request may take.")
@click.option("--max-body", type=Size(), default="4MiB", show_default=True, help="The maximum size of a request.")
@click.option("--device", help="Where to compute, such as cuda; by default where the base is loaded.")
@click.option("--download", is_flag=True, help="Download the base if it isn't on this machine.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that the base's folder brings.")
def inference(**options: Any) -> None:
    """Answer with many adapters of one base over HTTP, for clients of OpenAI.

    An adapter's reference is the model: acme/tone, acme/tone@champion, acme/tone@3. The routes are /v1/embeddings,
    /v1/classify, /v1/chat/completions, /v1/models, /health and /metrics. SIGTERM finishes what was accepted.

    \b
    Examples:
      ahf serve inference --base minilm
      ahf serve inference --base minilm --bytes 256MiB --pin acme/tone@champion --port 8781
      ahf serve inference --base minilm --host 0.0.0.0 --public --token-file tokens.txt
    """
    from adapterhub_fin.engine.pool.seconds import read_seconds
    from adapterhub_fin.engine.pool.serving_settings import ServingSettings
    from adapterhub_fin.http_process import check_installed
    from adapterhub_fin.inference_server.serve import serve_inference
    from adapterhub_fin.inference_server.settings import InferenceSettings

    check_installed()
    names = ("max_batch", "max_wait", "max_queue", "workers", "writers", "max_streams")
    settings = InferenceSettings(
        token_file=options["token_file"],
        max_body=options["max_body"],
        timeout=read_seconds(options["timeout"]),
        serving=ServingSettings.read({name: options[name] for name in names}),
    )

    def ready(address: str) -> None:
        click.echo(f"serving at {address}: set OPENAI_BASE_URL={address}/v1 for clients", err=True)

    serve_inference(
        options["base"],
        bytes=options["size"],
        host=options["host"],
        port=options["port"],
        public_address=options["public"],
        settings=settings,
        pin=options["pin"],
        device=options["device"],
        download=options["download"],
        trust_remote_code=options["trust_remote_code"],
        ready=ready,
    )
