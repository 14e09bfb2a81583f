"""Run the server: speech recognition, understanding, answers and speech on one port, by the Wyoming protocol."""

from __future__ import annotations

import argparse

from wyoming_superwhisper.cli import options as shared

EPILOG = """\
examples:
  wyoming-superwhisper serve --settings demo         everything on the small packaged models, no network, no GPU
  wyoming-superwhisper serve --settings rtx3090      the reference machine
  wyoming-superwhisper serve --uri stdio://          one client, over standard input and output
  wyoming-superwhisper serve --set gpu.device="RTX 3090" --set llm.model=off

exit status: 0 ended by SIGTERM, SIGINT or closed standard input; 2 wrong options or settings, port in use, model files
missing or wrong, said before listening; 1 anything else."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `serve`."""
    parser.add_argument(
        "--uri", metavar="URI", help="where to listen: tcp://HOST:PORT, unix://PATH or stdio:// (default: port 10300)"
    )
    parser.add_argument(
        "--zeroconf",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="advertise on the local network, so that Home Assistant finds the server (default: yes)",
    )
    shared.add_models(parser)
    parser.add_argument(
        "--language", metavar="LANGUAGE", help="language of requests that name none, as fr; auto: detect"
    )
    parser.add_argument("--record", metavar="DIR", help="keep what is said, and its transcript, there (default: no)")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="figures for Prometheus there, or off (the default)")
    shared.add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    names = {
        "uri": "server.uri", "zeroconf": "server.zeroconf", "metrics": "metrics.listen", "record": "record.dir",
    }  # fmt: skip
    settings = shared.server_settings(options, names)
    shared.require_server_packages()
    from wyoming_superwhisper import app

    return app.run(settings, lambda: shared.server_settings(options, names))
