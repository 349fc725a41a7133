"""The command line: ``python -m helpers run|sweep|report|data|kernels …``."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from helpers import __version__, cluster, kernels, registry, runner, sweep
from helpers.command import command

FINE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
UNREAD = 141  # as the shell says of programs that end like that

_EPILOGUE = """\
exit codes:
  0    all is well
  1    a notebook failed (its log and executed copy tell why; the others have run),
       a results.json cannot be read, a dataset could not be fetched,
       or the scheduler of a sweep has gone;
       data verify: something needs a person (files that cannot be read, fewer than the
       registry says, or a patient or picture on both sides of the official test part)
  2    the call was wrong; one line says what, nothing was started
  130  interrupted (Ctrl-C); everything that was running has been stopped
  141  whoever read the output has closed it (such as | head)

examples:
  python -m helpers run all                      every notebook on its sample data
  python -m helpers run malaria --profile best --data-dir cell_images
  python -m helpers run malaria -p epochs 3 -p backbone resnet50v2 --output runs/try
  python -m helpers sweep malaria --folds 5 --seeds 3          15 runs, and their means
  python -m helpers report runs/sample           table and HTML again, from what is there
  python -m helpers data download malaria        the real images; then --data-dir malaria
  python -m helpers data verify oct --data-dir OCT2017    is it all there, and what is wrong in it?
  python -m helpers kernels install              Jupyter kernels: CPU, and GPU if there is one
  python -m helpers run all --kernel tutorials-gpu
"""


_IMAGES = (
    "a folder, the name of a downloaded set, or a CSV file of your own (default: drawn sample)"
)
OWN_IMAGES = "folder"  # helpers.own_images.NAME, which would have to wait for pandas
_SIZES = ("images", "patients", "slides")
_ANYWHERE = object()  # where a kernel lies: wherever Jupyter finds it first


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code of a call.

    Args:
        arguments: the words after ``python -m helpers``; ``None`` takes the real ones.
    """
    try:
        try:
            return _carry_out(arguments)
        finally:
            sys.stdout.flush()  # else what is left is written when nobody can catch the error
    except BrokenPipeError:
        # `| head` has had enough. The interpreter flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


def _carry_out(arguments: Sequence[str] | None) -> int:
    """Return the exit code of a call; errors of the person who calls are one line."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.action(options)
    except (runner.WrongCall, kernels.KernelError) as error:
        print(f"helpers: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("helpers: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _run(options: argparse.Namespace) -> int:
    """Run notebooks, print the table and write the report."""
    jobs = runner.plan(
        options.names,
        _given(options),
        output=options.output,
        mode=options.mode or "refuse",
        kernel=options.kernel,
        cell_limit=options.cell_timeout,
        limit=options.timeout,
        devices=options.devices,
    )
    for note in runner.drawn(jobs):
        print(note, file=sys.stderr)
    if options.dry_run:
        for job in jobs:
            _print_plan(job)
        return FINE
    outcomes = runner.run(jobs, parallel=options.jobs)
    if any(outcome.status == "interrupted" for outcome in outcomes):
        for outcome in outcomes:
            print(f"{outcome.job.name}: {outcome.message or outcome.status}")
        print("Interrupted: nothing is left running. --resume goes on from here.")
        return INTERRUPTED

    from helpers import report

    print(report.as_text([report.read(job.folder) for job in jobs]))
    for parent in dict.fromkeys(job.folder.parent for job in jobs):
        print(f"\nReport: {report.build(parent)}")
    return FAILED if any(outcome.status == "failed" for outcome in outcomes) else FINE


def _sweep(options: argparse.Namespace) -> int:
    """Run a matrix of notebooks, print the table and write the report."""
    asked = sweep.plan(
        options.names,
        _given(options, ()),
        images=options.images,
        profiles=options.profiles,
        folds=options.folds,
        seeds=options.seeds,
        output=options.output,
        kernel=options.kernel,
        cell_limit=options.cell_timeout,
        limit=options.timeout,
        local=options.dask is None,
    )
    for note in asked.notes:
        print(note, file=sys.stderr)
    total = len(asked.jobs)
    if options.dry_run:
        for job in sweep.settled(asked):
            print(f"{job.name}: {'has finished' if job.action == 'keep' else 'would run'}")
        print(f"{total} runs in {asked.folder}")
        return FINE
    try:
        outcomes = sweep.run(asked, address=options.dask, workers=options.workers)
    except cluster.SchedulerGoneError as error:
        print(
            f"helpers: the scheduler at {error} has gone. {sweep.finished(asked)} of {total} runs "
            f"have finished and stay in {asked.folder}; the same command runs the others.",
            file=sys.stderr,
        )
        return FAILED
    if any(outcome.status == "interrupted" for outcome in outcomes):
        print(
            f"Interrupted: nothing is left running. {sweep.finished(asked)} of {total} runs have "
            "finished; the same command goes on from here."
        )
        return INTERRUPTED

    from helpers import report

    entries = [report.read(job.folder) for job in asked.jobs]
    print(report.as_text(entries))
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        print(f"\n{len(failed)} of {total} runs failed; the same command tries them again:")
    for outcome in failed:
        print(f"{outcome.job.name}: {outcome.message}\n    {outcome.job.folder / runner.LOG}")
    print(f"\nReport: {report.build(asked.folder)}")
    return FAILED if failed else FINE


def _report(options: argparse.Namespace) -> int:
    """Rebuild table and report of a folder."""
    from helpers import report

    try:
        entries = report.collect(options.folder)
    except FileNotFoundError as error:
        raise runner.WrongCall(str(error)) from error
    page = report.build(options.folder, entries)
    print(report.as_text(entries))
    standing = sweep.standing(Path(options.folder))
    if standing:
        print(f"\n{standing}")
    print(f"\nReport: {page}")
    return FAILED if any(entry.broken for entry in entries) else FINE


def _list(_: argparse.Namespace) -> int:
    """Print what can be fetched: the whole sets, then other releases and small versions of them."""
    known = registry.releases()
    for release, dataset in ((registry.release(name), known[name]) for name in known):
        sizes = [one for one in dataset.releases if one.pixels] if release.pixels else [release]
        if release == sizes[0]:  # several sizes of one set are listed together
            _print_releases(sizes, dataset)
    print(f"\nFetch one with  {command('data download NAME')}")
    print("Where they come from, and what is wrong in the files: data/README.md")
    return FINE


def _download(options: argparse.Namespace) -> int:
    """Fetch a dataset, and say where it lies."""
    from helpers import downloads

    try:
        registry.release(options.name)
    except ValueError as error:
        raise runner.WrongCall(str(error)) from error
    try:
        folder = downloads.download(options.name, keep_archive=options.keep_archive)
    except downloads.DownloadError as error:
        print(f"helpers: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(
            "helpers: interrupted. What was fetched is kept; the same call goes on from there.",
            file=sys.stderr,
        )
        return INTERRUPTED
    dataset = registry.releases()[options.name]
    print(f"{options.name} lies in {folder}")
    words = f"run {dataset.name} --profile best --data-dir {options.name}"
    print(f"    {command(words)}")
    return FINE


def _sample(options: argparse.Namespace) -> int:
    """Draw the synthetic twin of a dataset into a folder."""
    from helpers import samples

    folder = Path(options.output or f"{options.name}-sample-seed{options.seed}")
    folder = folder.expanduser().absolute()
    other = registry.releases().get(options.name)
    if other is not None and other.name != options.name:
        raise runner.WrongCall(
            f"data sample {options.name}: samples are drawn of the {len(registry.names())} "
            f"datasets only, not of their other releases. Call  "
            f"{command(f'data sample {other.name}')}"
        )
    try:
        registry.get(options.name)
        samples.draw(options.name, folder, options.seed)
    except ValueError as error:
        raise runner.WrongCall(str(error)) from error
    except FileExistsError as error:
        raise runner.WrongCall(f"{error} (--output FOLDER)") from error
    except OSError as error:
        raise runner.WrongCall(f"{error.strerror} (--output FOLDER)") from error
    print(f"Synthetic {options.name} images, drawn with seed {options.seed}: {folder}")
    return FINE


def _print_releases(alike: Sequence[registry.Release], dataset: registry.Dataset) -> None:
    """Print what is known of a release (or of one in several sizes), and whether it is here."""
    first = alike[0]
    counts = first.counts or dataset.counts
    sizes = [f"{counts[what]:,} {what}" for what in _SIZES if what in counts]
    if len(sizes) == 1:
        sizes.append("patients " + ("not told" if first.pixels else "told by the file names"))
    print(f"{first.name}  ({', '.join(sizes)})")
    _print_fact("task", dataset.task)
    _print_fact("what", first.note)
    _print_fact("licence", first.licence or dataset.licence)
    for release in alike:
        size, here = _size_and_place(release)
        if release.pixels:
            _print_fact(f"{release.pixels} px", f"{release.name}, at most {size}; here: {here}")
        else:
            _print_fact("size", size)
            _print_fact("here", here)


def _size_and_place(release: registry.Release) -> tuple[str, str]:
    """Return how large a release is to fetch, and whether it is here, in words."""
    from helpers import downloads
    from helpers.fetch import in_words

    state = downloads.status(release.name)
    size = in_words(release.expected_size) if release.expected_size else "unknown"
    if state.complete:
        return size, f"yes, complete in {state.folder}"
    if state.problem:
        return size, f"NOT COMPLETE: {state.problem}, in {state.folder}"
    return size, f"no, {in_words(state.fetched)} of it fetched" if state.fetched else "no"


def _print_fact(what: str, text: str) -> None:
    """Print one fact below a dataset's name, in lines of a hundred characters; nothing of none."""
    if text:
        start = f"    {what + ':':<9}"
        print(textwrap.fill(text, 100, initial_indent=start, subsequent_indent=" " * 13,
                            break_long_words=False, break_on_hyphens=False))  # fmt: skip


def _verify(options: argparse.Namespace) -> int:
    """Check a dataset's folder, print what was found and write it down."""
    is_own = options.name == OWN_IMAGES
    try:
        if not is_own:
            registry.release(options.name)
    except ValueError as error:
        raise runner.WrongCall(str(error)) from error
    if is_own and not options.data_dir:
        raise runner.WrongCall("data verify folder: say which images, with --data-dir FOLDER.")
    folder = options.data_dir or _downloaded(options.name)
    output = Path(options.output or f"{options.name}-verify").expanduser().absolute()

    from helpers import verify
    from helpers.own_images import path_rule

    rules = {"patient_from": options.patient_from, "class_from": options.class_from}
    try:
        for name, rule in rules.items():
            if rule is not None:
                path_rule(rule, name)
    except ValueError as error:
        raise runner.WrongCall(str(error)) from error
    try:
        verify.require_free(output)  # before an hour's work, not after it
    except FileExistsError as error:
        raise runner.WrongCall(f"{error} (--output FOLDER)") from error
    except OSError as error:
        raise _unwritable(output, error) from error
    try:
        found = verify.check(options.name, folder, **rules)
    except FileNotFoundError as error:
        raise runner.WrongCall(str(error)) from error
    except verify.UnusableFolderError as error:
        print(f"helpers: {error}", file=sys.stderr)
        return FAILED
    print(verify.summary(found))
    try:
        verify.write(found, output)
    except OSError as error:
        raise _unwritable(output, error) from error
    print(f"Written: {output / verify.SUMMARY} and {verify.TABLE}")
    return FAILED if found.faults else FINE


def _unwritable(output: Path, error: OSError) -> runner.WrongCall:
    """Return what to say of a folder for the results that cannot be written."""
    why = f"{output} cannot be written ({error.strerror or error})"
    return runner.WrongCall(f"{why}. Name another folder with --output.")


def _downloaded(name: str) -> str:
    """Return the folder into which a dataset was downloaded, whole or not.

    Raises:
        WrongCall: it was not.
    """
    from helpers import downloads

    state = downloads.status(name)
    if not (state.complete or state.problem):  # what is missing is for the check to say
        raise runner.WrongCall(
            f"data verify {name}: it has not been downloaded. Say which folder, with --data-dir "
            f"FOLDER, or call  {command(f'data download {name}')}"
        )
    return str(state.folder)


def _list_kernels(_: argparse.Namespace) -> int:
    """Print our kernels that Jupyter finds, the names of the others, and this machine's GPUs."""
    found = kernels.installed()
    ours = [kernel for kernel in found if kernel.name in kernels.NAMES]
    for kernel in ours:
        print(f"{kernel.name}  {kernel.display_name}".rstrip())
        _print_fact("device", kernel.device.upper())
        _print_fact("backend", kernel.backend)
        _print_fact("python", kernel.interpreter)
        _print_fact("folder", str(kernel.folder))
        _print_fact("BROKEN", kernel.problem)
    if not ours:
        print(f"None of our kernels is installed. That does  {command('kernels install')}")
    others = [kernel.name for kernel in found if kernel not in ours]
    print(f"Other Jupyter kernels: {', '.join(others) or 'none'}")
    print(f"GPUs here: {', '.join(kernels.gpus()) or 'none'}")
    return FINE


def _install_kernels(options: argparse.Namespace) -> int:
    """Write our kernels for what the machine has, or the one that was asked for."""
    devices, backend = kernels.resolve(options.device, options.backend)
    place = kernels.kernels_folder(options.prefix)
    for device in devices:
        folder = kernels.install(device, backend, place)
        print(f"{folder.name}  {kernels.DEVICES[device]}, {backend}: {folder}")
        if device == "gpu":
            if not kernels.gpus():
                _warn("this machine shows no NVIDIA card; the kernel stops in its set-up cell here")
            if kernels.is_cpu_build(backend):
                install = kernels.install_command(backend, "gpu")
                _warn(f"the {backend} that is installed cannot use a GPU. Replace it:  {install}")
        hidden = kernels.hidden_by(folder)
        if hidden:
            _warn(hidden)
        else:
            print(f"    {command(f'run all --kernel {folder.name}')}")
    print("JupyterLab shows what is installed in its launcher, after a reload of its page.")
    return FINE


def _remove_kernel(options: argparse.Namespace) -> int:
    """Remove one of our kernels."""
    place = None if options.prefix is _ANYWHERE else kernels.kernels_folder(options.prefix)
    print(f"Removed: {kernels.remove(options.name, place)}")
    return FINE


def _warn(text: str) -> None:
    """Print a warning where it does not mix with what was asked for."""
    print(f"helpers: warning: {text}", file=sys.stderr)


def _given(
    options: argparse.Namespace, own: Sequence[str] = ("profile", "data_dir", "seed", "fold")
) -> dict[str, str]:
    """Return the notebook parameters of a call, as typed.

    Args:
        options: the call.
        own: those that have an option of their own, besides ``-p``.

    Raises:
        WrongCall: one was given twice.
    """
    pairs = [(name, getattr(options, name)) for name in own]
    pairs = [(name, value) for name, value in pairs if value is not None]
    given: dict[str, str] = {}
    for name, value in [*pairs, *options.parameters]:
        if name in given:
            raise runner.WrongCall(f"{name} was given twice: {given[name]!r} and {value!r}.")
        given[name] = value
    return given


def _print_plan(job: runner.Job) -> None:
    """Print what would be done with one notebook."""
    words = {
        "run": "would run into",
        "replace": "would run into, instead of what is there,",
        "keep": "has finished with these parameters in",
    }
    print(f"{job.name}: {job.notebook.name} {words[job.action]} {job.folder}")
    limits = (f"{limit} s" if limit else "none" for limit in (job.cell_limit, job.limit))
    print("    kernel {}; limit for a cell {}, for the notebook {}".format(job.kernel, *limits))
    if job.devices is not None:
        print(f"    devices in training: {job.devices}")
    for name, value in job.parameters.items():
        print(f"    {name} = {value!r}" + ("" if name in job.given else "  (the notebook's own)"))


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with the complaint."""
        self.exit(WRONG, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = _Parser(
        prog=command(),
        description="Runs the notebooks of the series and shows what came out.",
        epilog=_epilogue(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"helpers {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    _add_sweep(commands)
    _add_report(commands)
    _add_data(commands)
    _add_kernels(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[_Parser]) -> None:
    run = _command(commands, "run", "run notebooks unattended", _run)
    _add_notebooks(run)
    run.add_argument("--profile", metavar="P", help="sample (default), best or source")
    run.add_argument("--data-dir", metavar="D", help=f"the images of the notebook named: {_IMAGES}")
    run.add_argument(
        "--output", metavar="O", help="each notebook gets O/<name>/ (default: runs/<profile>)"
    )
    run.add_argument(
        "--devices",
        metavar="N",
        help="train on N devices at once (auto: on all GPUs), each with its share of a batch "
        "(default: $TUTORIALS_DEVICES, else 1)",
    )
    run.add_argument("--seed", metavar="N", help="rules sample, split, shuffling and weights")
    run.add_argument(
        "--fold",
        metavar="F",
        help="0 to 4: the fifth of the patients that is tested (pneumonia: that validates); "
        "all: 0, and the frozen backbone (brain_mri: the outlines, too) over all five (default: 0)",
    )
    run.add_argument(
        "--jobs", metavar="N", type=_positive, default=1, help="notebooks at a time (default: 1)"
    )
    earlier = run.add_mutually_exclusive_group()
    earlier.add_argument(
        "--resume",
        dest="mode",
        action="store_const",
        const="resume",
        help="keep what has finished with the same notebook and parameters, run the rest",
    )
    earlier.add_argument(
        "--overwrite",
        dest="mode",
        action="store_const",
        const="overwrite",
        help="replace earlier results (without either, they are refused)",
    )


def _add_sweep(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(
        commands, "sweep", "run every notebook with every profile, fold and seed", _sweep
    )
    _add_notebooks(parser)
    parser.add_argument(
        "--data-dir",
        metavar="[NAME=]D",
        dest="images",
        action="append",
        default=[],
        help=f"the images of the notebooks, or of the one named; as often as needed: {_IMAGES}",
    )
    parser.add_argument(
        "--profiles",
        metavar="P",
        nargs="+",
        default=["sample"],
        help="one or more of sample, best and source (default: sample)",
    )
    parser.add_argument(
        "--folds",
        metavar="N",
        type=_positive,
        help="folds 0 to N-1, at most 5 (default: the notebook's own, one)",
    )
    parser.add_argument(
        "--seeds", metavar="N", type=_positive, default=1, help="seeds 0 to N-1 (default: 1)"
    )
    parser.add_argument(
        "--output",
        metavar="O",
        help="the sweep's own folder: each run gets O/<name>/<profile>/fold<k>-seed<s>/; the same "
        f"call goes on with what is there (default: {sweep.FOLDER})",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        metavar="N",
        type=_positive,
        help="notebooks at a time on this machine (default: one for each GPU, else 1)",
    )
    where.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="on the workers of this Dask scheduler, for instance tcp://10.0.0.1:8786, with their "
        f"KERAS_BACKEND; start each with  {cluster.worker('ADDRESS')}",
    )


def _add_notebooks(command: argparse.ArgumentParser) -> None:
    """Add what every command that runs notebooks takes."""
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="malaria, 03_malaria, 3 or all (default: all)"
    )
    command.add_argument(
        "--kernel",
        metavar="K",
        default="python3",
        help="Jupyter kernel, with its own backend and device: one that `kernels` lists "
        "(default: python3)",
    )
    command.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="any other parameter of the notebook, as often as needed",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="print what would run, and start nothing"
    )
    limits = ", ".join(f"{name} {cell}/{job}" for name, (cell, job) in runner.LIMITS.items())
    command.add_argument(
        "--cell-timeout",
        metavar="S",
        type=_seconds,
        help="seconds that one cell may take, 0 = no limit",
    )
    command.add_argument(
        "--timeout",
        metavar="S",
        type=_seconds,
        help=f"seconds that one notebook may take, 0 = no limit (cell/notebook: {limits})",
    )


def _add_report(commands: argparse._SubParsersAction[_Parser]) -> None:
    report = _command(
        commands, "report", "write results.md, results.csv and report.html again", _report
    )
    report.add_argument("folder", metavar="FOLDER", help="folder with runs, at any depth")


def _add_data(commands: argparse._SubParsersAction[_Parser]) -> None:
    data = commands.add_parser("data", help="the datasets", description="The datasets.")
    actions = data.add_subparsers(metavar="ACTION", required=True)
    _command(actions, "list", "print what can be fetched, and whether it is here", _list)
    fetch = _command(
        actions, "download", "fetch a real dataset, check and unpack it; resumes", _download
    )
    fetch.add_argument("name", metavar="NAME", help="one that `data list` names")
    fetch.add_argument(
        "--keep-archive", action="store_true", help="do not remove archives that are unpacked"
    )
    sample = _command(actions, "sample", "draw the synthetic twin of a dataset", _sample)
    sample.add_argument("name", metavar="NAME", help="the dataset, for instance malaria")
    sample.add_argument(
        "--output", metavar="D", help="an empty or new folder (default: NAME-sample-seedN here)"
    )
    sample.add_argument("--seed", metavar="N", type=_whole, default=0, help="default: 0")
    _add_verify(actions)


def _add_verify(actions: argparse._SubParsersAction[_Parser]) -> None:
    verify = _command(
        actions, "verify", "look for gaps, damage, copies and leaks in a dataset", _verify
    )
    verify.add_argument(
        "name",
        metavar="NAME",
        help=f"one that `data list` names, for instance malaria; {OWN_IMAGES}: images of your own",
    )
    verify.add_argument(
        "--data-dir",
        metavar="FOLDER",
        help="folder with the images, or a CSV file of your own, as for run (default: what "
        "`data download` fetched)",
    )
    for what in ("patient", "class"):
        verify.add_argument(
            f"--{what}-from",
            metavar="RULE",
            help=f"what tells the {what} of your own images: folder:-1 (the one that holds the "
            "file), folder:-2 (the one above), or a regular expression with one group",
        )
    verify.add_argument(
        "--output",
        metavar="FOLDER",
        help="gets summary.md and images.csv, instead of those of an earlier check "
        "(default: NAME-verify here)",
    )


def _add_kernels(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(
        commands, "kernels", "list, install or remove the Jupyter kernels", _list_kernels
    )
    actions = parser.add_subparsers(metavar="ACTION")
    _command(actions, "list", "print which kernels are installed (the default)", _list_kernels)
    install = _command(
        actions, "install", "register Jupyter kernels for the CPU and the GPU", _install_kernels
    )
    install.add_argument(
        "--device",
        metavar="D",
        default="auto",
        help="cpu, gpu (also without one, as on a cluster's login node), or auto: "
        "cpu, and gpu if there is one (default: auto)",
    )
    install.add_argument(
        "--backend",
        metavar="B",
        help="tensorflow, jax or torch (default: $KERAS_BACKEND, else tensorflow)",
    )
    _add_place(install, None, " (default)")
    remove = _command(actions, "remove", "remove a kernel that install has made", _remove_kernel)
    remove.add_argument(
        "name",
        metavar="NAME",
        help=f"{' or '.join(kernels.NAMES)}: what Jupyter finds first, unless you say where",
    )
    _add_place(remove, _ANYWHERE)


def _add_place(command: argparse.ArgumentParser, default: object, word: str = "") -> None:
    """Add the options that say where a kernel lies; they all set ``prefix``."""
    places = command.add_mutually_exclusive_group()
    places.add_argument(
        "--user",
        dest="prefix",
        action="store_const",
        const=None,
        default=default,
        help=f"your own folder, for every Jupyter that you start{word}",
    )
    places.add_argument(
        "--sys-prefix",
        dest="prefix",
        action="store_const",
        const=sys.prefix,
        default=default,
        help="this Python environment only",
    )
    places.add_argument(
        "--prefix",
        metavar="FOLDER",
        default=default,
        help="FOLDER/share/jupyter/kernels, for a Jupyter elsewhere",
    )


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, purpose: str, action: object
) -> _Parser:
    """Return the parser of a new command that says its purpose and carries out an action."""
    sentence = f"{purpose[0].upper()}{purpose[1:]}."
    command = commands.add_parser(
        name,
        help=purpose,
        description=sentence,
        epilog=_epilogue(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(action=action)
    return command


def _epilogue() -> str:
    """Return what stands below every help, with our command as it is called here."""
    return _EPILOGUE.replace("python -m helpers", command())


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"takes a whole number, 0 or more, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if _whole(text) < 1:
        raise argparse.ArgumentTypeError("takes 1 or more")
    return int(text)


def _seconds(text: str) -> int:
    return _whole(text)


if __name__ == "__main__":
    sys.exit(main())
