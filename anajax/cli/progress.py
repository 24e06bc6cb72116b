"""How far a study is: parts, what is done of the present one, and the time left."""

import contextlib
from collections.abc import Iterator, Sequence

import typer

from anajax.studies.store.clock import Clock
from anajax.studies.store.parts import Notify, Within


@contextlib.contextmanager
def follow(
    parts: int, *, kinds: Sequence[str] = (), quiet: bool = False
) -> Iterator[tuple[Notify, Within]]:
    """Show how far a study is; gives what is to be told of its parts and stages.

    In a terminal a bar moves within parts, too; elsewhere, as in the log of a job, each
    part that is done is a line.

    Args:
        parts: of the study.
        kinds: of the parts, where they differ in how long they take.
        quiet: show nothing.
    """
    clock = Clock(parts, kinds=kinds)
    if quiet:
        yield lambda text, done: None, lambda stage, share: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from anajax.studies.report import terminal

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    console = terminal.console(error=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("begin", total=1.0, count=f"0/{parts}", left="")

        def notify(text: str, done: bool) -> None:
            if done:
                clock.finish()
            left = remaining(clock)
            count = f"{clock.done}/{parts}"
            bar.update(
                task, description=text, completed=clock.share, count=count, left=left
            )
            if done and not console.is_terminal:
                typer.echo(f"{count} {text}{f', {left}' * bool(left)}", err=True)

        yield notify, clock.within


def remaining(clock: Clock) -> str:
    """The time left in words; nothing while there is no telling, or where all is done.

    Args:
        clock: of the study.
    """
    left = clock.left()
    if left is None or clock.done >= clock.parts:
        return ""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if left >= 1.5 * size:
            return f"about {left / size:.2g} {unit} left"
    return f"about {max(left, 1):.0f} s left"
