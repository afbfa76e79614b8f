"""The commands and their options. What a command works with is imported when it runs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Neural networks whose every operation knows its own mathematics.",
)

Out = Annotated[Path | None, typer.Option(help="The run folder; by default runs/NAME-1, -2, …")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same split and network.")]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command, whose errors are one message and a status, never a traceback.

    Status 1 for what is wrong with data, files or training, 130 for Ctrl-C, 2 (typer's) for a
    command or an option that is not known.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        from chainrule.errors import ChainruleError

        try:
            function(*args, **kwargs)
        except ChainruleError as error:
            print(f"chainrule {function.__name__}: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            print("\nstopped by Ctrl-C; nothing was written", file=sys.stderr)
            raise typer.Exit(130) from None

    return app.command()(run)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if show:
        import chainrule

        print(f"chainrule {chainrule.__version__}")
        raise typer.Exit


@command
def fit(
    table: Annotated[Path, typer.Argument(help="A CSV, Parquet or .npz file.")],
    target: Annotated[str, typer.Option(help="The column to be predicted.")],
    out: Out = None,
    seed: Seed = 0,
    task: Annotated[str, typer.Option(help="auto, classes or real.")] = "auto",
    numeric: Annotated[
        list[str] | None, typer.Option(help="A column that is numbers; may be repeated.")
    ] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="A column that is categories; may be repeated.")
    ] = None,
    hidden: Annotated[str | None, typer.Option(help="Hidden sizes, such as 256,128.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows, at most.")] = None,
) -> None:
    """Train a network on a table; a run folder comes out."""
    from chainrule.train import Settings
    from chainrule.train.settings import with_settings

    settings = with_settings(Settings(seed=seed), hidden=_sizes(hidden), epochs=epochs)
    run = _fit(
        table,
        target,
        out=out,
        settings=settings,
        task=task,
        numeric=tuple(numeric or ()),
        categorical=tuple(categorical or ()),
    )
    print(f"\npredict with:  chainrule predict {run.folder} TABLE.csv")


@command
def demo(
    out: Out = None,
    seed: Seed = 0,
    broken: Annotated[
        str | None,
        typer.Option(help="Write a script that trains badly, to be diagnosed; or `list`."),
    ] = None,
) -> None:
    """Train on the handwritten digits that ship with scikit-learn, and test on digits not seen."""
    if broken is not None:
        from chainrule.cli.broken import BROKEN, write_broken

        if broken == "list":
            for name, case in BROKEN.items():
                print(f"{name:24}{case.see}")
            return
        path = write_broken(broken)
        print(f"{path} written: a script that trains a network on digits.\n{BROKEN[broken].see}")
        print(f"\nsee it:  python {path}\nask why:  chainrule diagnose {path}")
        return
    import tempfile

    from chainrule.cli.digits import write_digits
    from chainrule.train import Settings

    with tempfile.TemporaryDirectory() as folder:
        table = write_digits(Path(folder) / "digits.npz")
        run = _fit(table, "digit", out=out, settings=Settings(seed=seed), copy_table=True)
    print(f"\nlook at one digit:  chainrule explain {run.folder} --row 0")
    print(f"ask what an answer is worth:  chainrule interpret {run.folder}")
    print(f"test accuracy {run.scores[0].value:.4f}")


def _fit(table: Path, target: str, **options: Any) -> Any:
    import shlex

    from chainrule.train import fit_table

    command = shlex.join(["chainrule", *sys.argv[1:]])
    run = fit_table(table, target, command=command, report_notes=print, **options)
    history = run.history
    seconds = history.epochs[-1].seconds
    print(
        f"\ntrained for {len(history.epochs)} epochs in {seconds:.1f} s ({history.stopped}); "
        f"kept the weights of epoch {history.best_epoch}"
    )
    for score in run.scores:
        print(f"test {score}")
    print(f"\nrun folder {run.folder}, report {run.folder / 'report.html'}")
    return run


def _sizes(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not sizes such as 256,128") from None


@command
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    table: Annotated[Path, typer.Argument(help="A CSV, Parquet or .npz file.")],
    out: Annotated[Path | None, typer.Option(help="A CSV file, instead of the terminal.")] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Add `set`, the labels that hold the true one this often (0.9), with | between "
            "them; of a number `low` and `high`."
        ),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Add `aleatoric` and `epistemic`: the data's doubt, and what more rows to learn "
            "from would take away; and `outside`, the columns beyond what was seen.",
        ),
    ] = False,
) -> None:
    """Predict the rows of a table: a prediction, calibrated probabilities, the uncertainty."""
    from chainrule.cli.predictions import predictions, write_csv
    from chainrule.data import read_table
    from chainrule.train import read_run

    network = read_run(run).network
    columns, notes = predictions(
        network, read_table(table), coverage=coverage, uncertainty=uncertainty
    )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    write_csv(columns, out)
    if out is not None:
        print(f"{len(next(iter(columns.values())))} predictions written to {out}")


@command
def explain(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run folder, by default the newest in runs/; or mazur, or misconceptions.",
        ),
    ] = None,
    row: Annotated[int, typer.Option(help="The row of the run's table, counted from 0.")] = 0,
    height: Annotated[
        str,
        typer.Option(help="black box, components, shapes, symbols, numbers or code."),
    ] = "numbers",
    forward: Annotated[bool, typer.Option("--forward", help="The forward pass alone.")] = False,
    loss: Annotated[bool, typer.Option("--loss", help="The loss alone.")] = False,
    backward: Annotated[bool, typer.Option("--backward", help="The backward pass alone.")] = False,
    update: Annotated[bool, typer.Option("--update", help="The update alone.")] = False,
    weight: Annotated[
        str | None, typer.Option(help="One weight's gradient, path by path: 2.weight[3,17].")
    ] = None,
    neuron: Annotated[
        str | None, typer.Option(help="What made a unit fire: 0[5]; of convolutions 0[2,1,3].")
    ] = None,
    attention: Annotated[
        str | None, typer.Option(help="A head at a position, such as layers.0[1,3].")
    ] = None,
    opened: Annotated[
        str | None, typer.Option("--open", help="The steps inside of a step, such as a2.")
    ] = None,
    probability: Annotated[
        bool, typer.Option("--probability", help="The output as a distribution.")
    ] = False,
    bayes: Annotated[
        bool, typer.Option("--bayes", help="What the answer means, by Bayes' rule.")
    ] = False,
    shapes: Annotated[
        bool, typer.Option("--shapes", help="Why every array has its shape.")
    ] = False,
    optimizer: Annotated[
        str | None, typer.Option(help="Another than the run's: SGD(lr=0.1, momentum=0.9).")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="As in training: dropout drops.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only recompute every claim; status 1 if one fails.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write LaTeX source.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the data.")] = None,
    python: Annotated[Path | None, typer.Option(help="Write the stand-alone proof.")] = None,
) -> None:
    """Show the mathematics of one row, number by number, each one checked."""
    from rich.console import Console

    from chainrule.cli.explaining import PARTS, Question, answer, failures
    from chainrule.lens.explain.written.terminal import rich

    chosen = dict(zip(PARTS, (forward, loss, backward, update), strict=True))
    question = Question(
        tuple(part for part, asked in chosen.items() if asked),
        weight, neuron, attention, opened, probability, bayes, shapes,
    )  # fmt: skip
    derivation = answer(subject, row, question, optimizer=optimizer, training=training)
    files = {".html": html, ".tex": latex, ".json": json, ".py": python}
    for kind, path in files.items():
        if path is not None:
            derivation.save(path, kind)
            print(f"{path} written")
    if check:
        failed = list(failures(derivation))
        if failed:
            print("\n".join([*failed, derivation.verdict()]))
            raise typer.Exit(1)
        print(f"{derivation.verdict()} The tear-out proof holds.")
        return
    if not any(files.values()):
        # Text of the user's is shown as it is: brackets are no markup.
        console = Console(highlight=False, markup=False)
        shown = rich(derivation, height)
        console.print(shown, soft_wrap=not console.is_terminal)
    if not derivation.verified:
        raise typer.Exit(1)


@command
def diagnose(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|SCRIPT.py]",
            help="A run folder, by default the newest in runs/; or a script, run unchanged.",
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGS]", help="What the script is given.")
    ] = None,
    budget: Annotated[
        str, typer.Option(help="The time for trying remedies: 60s, 2m; 0 tries none.")
    ] = "60s",
    trials: Annotated[
        bool, typer.Option("--trials/--no-trials", help="Whether remedies are tried.")
    ] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Status 1 where something is wrong.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Write the mended run beside the run: RUN-fixed.")
    ] = False,
    advise: Annotated[
        bool,
        typer.Option("--advise", help="Try other widths, depths, rates, … as long as the budget."),
    ] = False,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Measure curvature, noise, ranks, probes, the kernel, too."),
    ] = False,
    seed: Seed = 0,
    rule: Annotated[
        list[Path] | None, typer.Option(help="A file with rules of your own; may be repeated.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the data.")] = None,
) -> None:
    """Say why a network does not learn, what to change, and whether the change works."""
    from rich.console import Console

    from chainrule.cli.diagnosing import diagnose_subject, mended, seconds_of, subject_of
    from chainrule.errors import DataError

    path = subject_of(subject)
    if (fix or advise or deep) and path.is_file():
        raise DataError(
            "--fix, --advise and --deep are for runs; of a script, the report says what to change"
        )
    found = diagnose_subject(
        path,
        budget=seconds_of(budget) if trials else 0.0,
        seed=seed,
        rules=rule or (),
        arguments=arguments or (),
    )
    if advise:
        found.advise(seconds_of(budget))
    if deep:
        found.measure()
    for kind, file in ((".html", html), (".json", json)):
        if file is not None:
            print(f"{found.save(file, kind)} written")
    # Text of the user's is shown as it is: brackets are no markup.
    console = Console(highlight=False, markup=False)
    console.print(found, soft_wrap=not console.is_terminal)
    if fix:
        from chainrule.train import read_run

        before = read_run(path)
        after, done = mended(before, found)
        print("\n".join(["", "changed:", *(f"  {line}" for line in done)]))
        print(f"before: test {before.scores[0]}\nafter:  test {after.scores[0]}, in {after.folder}")
    if strict and not found.healthy:
        raise typer.Exit(1)


@command
def interpret(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run folder, by default the newest in runs/."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TABLE]",
            help="Rows to ask about; by default the run's test rows. With the target in it, the "
            "answers are judged, too.",
        ),
    ] = None,
    row: Annotated[
        list[int] | None,
        typer.Option(help="A row of the table, or of the run's own; may be repeated."),
    ] = None,
    coverage: Annotated[
        float, typer.Option(help="How often sets and intervals shall hold the true answer.")
    ] = 0.9,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Set posteriors side by side; takes minutes, for small networks."
        ),
    ] = False,
    posterior: Annotated[
        str | None, typer.Option(help="laplace, dropout, swag, variational, hmc, …, or none.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="integrated-gradients, shapley, occlusion, smoothgrad, …")
    ] = "integrated-gradients",
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    html: Annotated[
        Path | None, typer.Option(help="The page; by default RUN/interpretation.html.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the data.")] = None,
) -> None:
    """Say what a network's answers are worth, what cannot be ruled out, and what made them so."""
    from rich.console import Console

    from chainrule.cli.interpreting import interpret_run

    made, found = interpret_run(
        run,
        table,
        rows=row or (),
        coverage=coverage,
        compare=compare,
        posterior=posterior,
        method=method,
        seed=seed,
    )
    # Written before anything is shown: whoever reads but the first lines has the page, too.
    files = {".html": html or made.folder / "interpretation.html", ".json": json}
    written = [found.save(file, kind) for kind, file in files.items() if file is not None]
    # Text of the user's is shown as it is: brackets are no markup.
    console = Console(highlight=False, markup=False)
    console.print(found, soft_wrap=not console.is_terminal)
    print("\n".join(["", *(f"{file} written" for file in written)]))


@command
def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that holds run folders.")] = Path(
        "runs"
    ),
) -> None:
    """List runs, the newest first: their scores, and what was measured while they trained."""
    from chainrule.cli.running import listed

    print(listed(folder))


@command
def bench() -> None:
    """Measure this machine and time training steps; a checkout compares with PyTorch and JAX."""
    from chainrule.cli.bench import run

    if status := run():
        raise typer.Exit(status)
