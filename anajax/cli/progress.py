"""Progress of a study: parts, progress within a part, and the time left."""

import contextlib
from collections.abc import Iterator, Sequence

import typer

from anajax.studies.store.clock import Ahead, Clock
from anajax.studies.store.parts import Notify, Within


@contextlib.contextmanager
def follow(
    parts: int,
    *,
    ahead: Sequence[Ahead] = (),
    after: float = 0.0,
    quiet: bool = False,
) -> Iterator[tuple[Notify, Within]]:
    """Show the progress of a study; yields functions to call at its parts and stages.

    In a terminal, a bar also moves within parts; elsewhere, as in the log of a job,
    each finished part is a line.

    Args:
        parts: number of parts of the study.
        ahead: what is known of each part, if some take longer than others.
        after: seconds from the last part until the study is done.
        quiet: show nothing.
    """
    clock = Clock(parts, ahead=ahead, after=after)
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
    """The time left in words; empty if it is unknown or there is none.

    Args:
        clock: clock of the study.
    """
    left = clock.left()
    if left is None or clock.done >= clock.parts and not left:
        return ""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if left >= 1.5 * size:
            return f"about {left / size:.2g} {unit} left"
    return f"about {max(left, 1):.0f} s left"
