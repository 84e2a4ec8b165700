"""Build the tiny pack, or measure it: `python -m vegas_tiny.recipe {build,report}`."""

import argparse
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
WORK = Path("build/pack")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from vegas_tiny.recipe.stages import STAGES

    top = argparse.ArgumentParser(prog="python -m vegas_tiny.recipe", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build the pack from its source packages")
    build.add_argument("--minutes", type=float, default=120, help="time for all trainings together (default 120)")
    build.add_argument("--steps", type=int, help="number of steps of each training, instead of --minutes")
    build.add_argument(
        "--others", type=int, default=1200, help="icon names besides those of the classes (default 1200)"
    )
    build.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="only these (default all)")
    build.add_argument("--resume", action="store_true", help="continue from the checkpoints in --work")
    report = commands.add_parser("report", help="measure the pack and write the results into the model card")
    for command in (build, report):
        command.add_argument("--out", type=Path, default=PACKAGE, help="the pack's folder (default: the package)")
        command.add_argument("--work", type=Path, default=WORK, help=f"downloads and checkpoints (default {WORK})")
    return top


def main() -> None:
    """Parse the command line and run the command."""
    arguments = parser().parse_args()
    if arguments.command == "build":
        from vegas_tiny.recipe.stages import build

        build(
            arguments.out,
            arguments.work,
            arguments.minutes,
            arguments.steps,
            arguments.others,
            arguments.stages,
            arguments.resume,
        )
    else:
        from vegas_tiny.recipe.report import report

        report(arguments.out, arguments.work)


if __name__ == "__main__":
    main()
