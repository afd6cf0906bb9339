"""The models in the cache.

python -m graph.models                  # list them with their sizes
python -m graph.models get NAME         # as in a spec behind `embedded:`
python -m graph.models remove NAME
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from graph.command_line import CommandLine, exit_code
from graph.models.cache import cached_models, remove


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return exit_code(lambda: _work(argv))


def _work(argv: Sequence[str] | None) -> int:
    parser = CommandLine(prog="python -m graph.models", description="The models in the cache.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="list the models with their sizes (default)")
    for name, about in (("get", "download a model"), ("remove", "delete a model's files")):
        command = commands.add_parser(name, help=about)
        command.add_argument("model", help="0.5b, 1.5b, OWNER/REPO[:QUANT] or OWNER/REPO/FILE.gguf")
    options = parser.parse_args(argv)
    if options.command == "get":
        from graph.models.embedded_files import model_file, model_path_or_name

        sys.stdout.write(f"{model_file(model_path_or_name(options.model))}\n")
    elif options.command == "remove":
        sys.stdout.write(f"removed {remove(options.model) / 1e9:.2f} GB\n")
    else:
        _list()
    return 0


def _list() -> None:
    models = cached_models()
    width = max((len(model.name) for model in models), default=0)
    for model in models:
        sys.stdout.write(f"{model.name:{width}}  {model.size / 1e9:6.2f} GB  {model.paths[0]}\n")
    total = sum(model.size for model in models)
    sys.stdout.write(f"{len(models)} models, {total / 1e9:.2f} GB\n" if models else "no model is in the cache yet\n")


if __name__ == "__main__":
    sys.exit(main())
