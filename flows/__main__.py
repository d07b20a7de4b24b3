"""The command ``aspects``."""

from __future__ import annotations

import gc
import importlib.metadata
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from flows.engine.cluster import TlsFiles
from flows.engine.devices import GpuChoice
from flows.engine.signals import ends_on_signals
from flows.run.request import PreflightError, RunRequest, UsageError
from flows.schedule.hooks import BUSY_LIMIT_H, Hooks
from tasks.consensus import ConsensusRule

EXIT_CODES = (
    "Exit codes: 0 done; 1 some cases failed, or nothing that was due could be measured, or verify found damage; "
    "2 wrong usage; 3 the study must be fixed first; 70 internal error; 74 the output folder cannot be written; "
    "75 another run is at work there, or the workers are gone: run again later; 130 and 143 stopped by a signal."
)

if TYPE_CHECKING:
    from flows.engine.slurm import SlurmProfile

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Score a retrospective stroke cohort: ASPECTS, volumes, agreement and severity thresholds. Research use only; "
    "never a diagnosis.",
    epilog=EXIT_CODES,
)

CohortFolder = Annotated[Path, typer.Argument(metavar="COHORT", help="Cohort folder, with its cohort.toml")]
OutFolder = Annotated[Path, typer.Argument(metavar="OUT", help="Output folder; made if absent")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--participant-label", help="Only this participant, with or without sub-; repeat for more"),
]
Cpus = Annotated[
    int,
    typer.Option("--n-cpus", "--nprocs", min=0, help="Local workers; 0 means one per core, fewer for a few cases"),
]
WorkDir = Annotated[
    Path | None, typer.Option("--work-dir", "-w", help="Folder for what may be deleted between runs; default OUT/work")
]
DaskAddress = Annotated[
    str | None, typer.Option("--dask", metavar="ADDRESS", help="Use a running Dask scheduler instead of local workers")
]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster", metavar="FILE", help="Use jobs of SLURM instead of local workers, as FILE says ([cluster], TOML)"
    ),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow --dask beyond this machine without TLS")]
TlsCa = Annotated[
    Path | None, typer.Option("--tls-ca", metavar="FILE", help="For --dask tls://: PEM file of the authority")
]
TlsCert = Annotated[Path | None, typer.Option("--tls-cert", metavar="FILE", help="This client's certificate, PEM")]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="The key of that certificate, PEM")]
Gpu = Annotated[
    GpuChoice, typer.Option("--gpu", help="Use a GPU: require one, try to find one, or none", show_default=True)
]
AllowCommands = Annotated[
    bool,
    typer.Option(
        "--allow-commands",
        help='Run the programs that cohort.toml names (kind = "command"); look at them first: they run as you',
    ),
]

LinkTable = Annotated[
    Path | None,
    typer.Option(
        "--link-table",
        metavar="FILE",
        help="Which volume is of which patient and series, outside COHORT, readable by its owner alone; only where "
        "the study may re-identify",
    ),
]
OnFailure = Annotated[
    str | None, typer.Option("--on-failure", metavar="COMMAND", help="Run with the summary's path if the night fails")
]
OnChange = Annotated[
    str | None, typer.Option("--on-change", metavar="COMMAND", help="Run with the summary's path if results changed")
]
BusyLimit = Annotated[
    float, typer.Option("--busy-limit", min=0, help="Hours of another run after which a night fails; 0 is never")
]
NightLog = Annotated[
    Path | None, typer.Option("--log", metavar="FILE", help="Write the night's line here too, not only in OUT")
]


def _version(shown: bool) -> None:
    """Print the version and leave."""
    if shown:
        typer.echo(importlib.metadata.version("aspects-cohort"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def init(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="Folder to make")],
    from_soop: Annotated[
        Path | None,
        typer.Option("--from-soop", metavar="DIR", help="Fill it from a copy of the public SOOP demonstration cohort"),
    ] = None,
    from_bids: Annotated[
        Path | None,
        typer.Option(
            "--from-bids", metavar="DIR", help="Fill it from a BIDS data set and the masks of its derivatives"
        ),
    ] = None,
    from_isles22: Annotated[
        Path | None, typer.Option("--from-isles22", metavar="DIR", help="Fill it from a copy of ISLES'22")
    ] = None,
    from_isles24: Annotated[
        Path | None, typer.Option("--from-isles24", metavar="DIR", help="Fill it from a copy of ISLES'24")
    ] = None,
    from_aisd: Annotated[
        Path | None, typer.Option("--from-aisd", metavar="DIR", help="Fill it from a copy of AISD, with its DICOM")
    ] = None,
    from_cpaisd: Annotated[
        Path | None, typer.Option("--from-cpaisd", metavar="DIR", help="Fill it from a copy of CPAISD")
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NAME=FILE[:ORDER]",
            help="With --from-soop: score a further label map as source NAME; ORDER names labels 1-10, such as "
            "C,I,IC,L,M1,M2,M3,M4,M5,M6",
        ),
    ] = None,
) -> None:
    """Write a commented example of a cohort folder, or adopt a data set."""
    console = Console()
    sets = {
        "bids": from_bids,
        "isles22": from_isles22,
        "isles24": from_isles24,
        "aisd": from_aisd,
        "cpaisd": from_cpaisd,
    }
    given = {name: path for name, path in sets.items() if path is not None}
    if len(given) + (from_soop is not None) > 1:
        raise UsageError("--from-... must be given once, got several. Make one folder of each.")
    if given:
        from flows.commands.adopt import adopt

        ((name, source),) = given.items()
        adopt(name, source, cohort, console)
    elif from_soop is not None:
        from cohorts.folder.soop import adopt_soop, map_arguments

        try:
            extra_maps = map_arguments(maps or ())
        except ValueError as error:
            raise UsageError(str(error)) from error
        try:
            adopt_soop(from_soop, cohort, extra_maps=extra_maps)
        except ValueError as error:
            raise PreflightError(str(error)) from error
    else:
        from cohorts.folder.example import write_example

        write_example(cohort)
    console.print(f"Written: {cohort}\nNext: aspects check {shlex.quote(str(cohort))}", highlight=False, soft_wrap=True)


@app.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="DICOM_DIR", help="Folder of DICOM files, in any order")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="Cohort folder; made if absent")],
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Key of pseudonyms and dates, outside COHORT; default COHORT.key"),
    ] = None,
    on_fault: Annotated[
        list[str] | None,
        typer.Option(
            "--on-fault", metavar="FAULT=ACTION", help="reject or resample, such as gantry_tilt=reject; repeat"
        ),
    ] = None,
    link_table: LinkTable = None,
    patient_from: Annotated[
        Literal["id", "folder", "study"],
        typer.Option("--patient-from", help="What names a patient: the id, the folder inside DICOM_DIR, or the study"),
    ] = "id",
    same_person: Annotated[
        list[str] | None,
        typer.Option(
            "--same-person",
            metavar="SUB[=SUB]",
            help="These participants are one person, whatever their files say; the first name stays; repeat",
        ),
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links that lead out of DICOM_DIR; they are only read")
    ] = False,
    keep_text: Annotated[
        bool,
        typer.Option("--keep-text", help="Import series in whose pixels text seems to be drawn; look at them first"),
    ] = False,
) -> None:
    """Bring DICOM exports into a cohort folder: sorted by patient, recognised, checked, converted, under pseudonyms.

    An import that was stopped goes on when it is started again. It ends with 1 where something was left out that
    somebody has to look after: a patient who cannot be told from another one, files that are lost, or everything.
    """
    from flows.commands.import_dicom import import_dicom
    from flows.commands.import_request import import_request, intake_rules

    rules = intake_rules(patient_from, same_person or (), follow_links=follow_links, keep_text=keep_text)
    raise typer.Exit(import_dicom(import_request(source, cohort, key, on_fault or (), link_table, rules), Console()))


@app.command(name="import-table")
def import_table_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table: .csv, .tsv, .txt or .xlsx")],
    cohort: CohortFolder,
    table: Annotated[
        str | None, typer.Option("--table", metavar="NAME", help="Which [[table]] of cohort.toml says how it is read")
    ] = None,
    into: Annotated[
        Literal["participants", "readings"] | None, typer.Option("--into", help="Which table it fills")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Column of FILE that names the participant")
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COLUMN=NAME[:KIND]",
            help="A column of FILE and its name in the cohort; KIND declares a new one (integer, number, category, "
            "boolean, date, text); reader:A is a column of reader A's scores; repeat",
        ),
    ] = None,
    ignored: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="A column that is not imported; repeat")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--value", metavar="NAME:TEXT=VALUE", help="What a text in a column of the cohort means; repeat"),
    ] = None,
    missing: Annotated[
        list[str] | None, typer.Option("--missing", metavar="TEXT", help="A text that means missing; repeat")
    ] = None,
    dates: Annotated[
        Literal["dmy", "mdy", "ymd"] | None, typer.Option("--dates", help="Order of day, month and year")
    ] = None,
    decimal: Annotated[
        Literal["point", "comma"] | None, typer.Option("--decimal", help="What is before decimals")
    ] = None,
    id_digits: Annotated[
        int | None, typer.Option("--id-digits", min=1, max=64, help="Fill ids of digits with zeros to this length")
    ] = None,
    blanks: Annotated[
        Literal["keep", "erase"] | None,
        typer.Option("--blanks", help="What an empty cell does to a value that is there; default keep"),
    ] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", metavar="NAME", help="Sheet of a workbook")] = None,
    header_row: Annotated[int | None, typer.Option("--header-row", min=1, help="Row that names the columns")] = None,
    separator: Annotated[
        str | None, typer.Option("--separator", metavar="SIGN", help="comma, semicolon, tab, bar, or one sign")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", metavar="NAME", help="Such as cp1252 or mac-roman")
    ] = None,
    dictionary: Annotated[
        Path | None, typer.Option("--dictionary", metavar="FILE", help="REDCap's data dictionary of FILE")
    ] = None,
    link: Annotated[
        Path | None,
        typer.Option("--link", metavar="FILE", help="Table (.tsv) of participant_id and the ids that FILE has"),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", help="Key of the import, for dates beside shifted ones; default: COHORT.key"
        ),
    ] = None,
    keep_dates: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-dates", metavar="COLUMN", help="A column of dates that are shifted already, or no patient's; repeat"
        ),
    ] = None,
    changes: Annotated[
        Path | None, typer.Option("--changes", metavar="FILE", help="Write every change to this table too (.tsv)")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List every change, and write nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking")] = False,
) -> None:
    """Bring somebody else's table into a cohort folder, each change listed before.

    How it is read is stored in cohort.toml as a [[table]], and used again for a newer file.
    """
    from flows.commands.import_table import import_table
    from flows.commands.table_request import TableRequest

    given = {
        "name": table,
        "into": into,
        "id": id_column,
        "missing": missing,
        "dates": dates,
        "decimal": decimal,
        "id_digits": id_digits,
        "blanks": blanks,
        "sheet": sheet,
        "header_row": header_row,
        "separator": separator,
        "encoding": encoding,
        "keep_dates": tuple(keep_dates) if keep_dates else None,
    }
    request = TableRequest(
        file,
        cohort,
        {name: value for name, value in given.items() if value is not None},
        tuple(maps or ()),
        tuple(ignored or ()),
        tuple(values or ()),
        dictionary,
        link,
        key,
        changes,
        dry_run,
        yes,
    )
    console = Console()
    is_terminal = sys.stdin.isatty() and console.is_terminal
    ask = partial(console.input, markup=False, emoji=False) if is_terminal and not yes else None
    raise typer.Exit(import_table(request, console, ask))


@app.command()
def check(
    cohort: CohortFolder,
    n_cpus: Cpus = 0,
    problems: Annotated[
        Path | None, typer.Option("--problems", metavar="FILE", help="Write every problem to this table (.tsv)")
    ] = None,
) -> None:
    """Compare what is expected with what is there, images included, and print every problem at once."""
    from flows.commands.check import check_cohort

    raise typer.Exit(check_cohort(cohort, n_cpus, Console(), problems))


@app.command()
def sources() -> None:
    """List the kinds of source: what each reads, needs and gives."""
    from flows.commands.sources import show_sources

    show_sources(Console())


@app.command()
def run(
    cohort: CohortFolder,
    out: OutFolder,
    participant_label: Labels = None,
    n_cpus: Cpus = 0,
    work_dir: WorkDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and why, and do nothing")] = False,
    dask: DaskAddress = None,
    cluster: ClusterFile = None,
    insecure: Insecure = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    gpu: Gpu = "try",
    allow_commands: AllowCommands = False,
) -> None:
    """Run a cohort: tables, statistics and report. Only what is missing or changed is computed."""
    from flows.commands import screens
    from flows.run.running import run_cohort

    console = Console()
    request = RunRequest(
        cohort=cohort,
        out=out,
        labels=tuple(participant_label or ()),
        n_cpus=n_cpus,
        work_dir=work_dir,
        dask_address=dask,
        allow_insecure=insecure,
        tls=_tls(dask, tls_ca, tls_cert, tls_key),
        profile=_profile(cluster, dask),
        gpu=gpu,
        allow_commands=allow_commands,
        command=_command(),
    )
    if dry_run:
        screens.show_plan(request, console)
        return
    outcome = run_cohort(request, console)
    screens.show_outcome(outcome, request, console)
    raise typer.Exit(outcome.exit_code)


@app.command()
def status(
    cohort: CohortFolder,
    out: OutFolder,
    why: Annotated[str | None, typer.Option("--why", metavar="PARTICIPANT", help="Explain one participant")] = None,
) -> None:
    """Show what is done, what is due and why, and who is at work."""
    from flows.commands import screens

    screens.show_status(RunRequest(cohort, out), why, Console())


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, such as OUT/results/latest")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="A later run folder")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows shown of each kind")] = 30,
) -> None:
    """Compare two runs: what changed, participant by participant and statistic by statistic, and what caused it."""
    from flows.commands import screens
    from flows.commands.compare import compare_runs

    screens.show_comparison(compare_runs(first, second), limit, Console())


@app.command()
def nightly(
    cohort: CohortFolder,
    out: OutFolder,
    n_cpus: Cpus = 0,
    work_dir: WorkDir = None,
    dask: DaskAddress = None,
    cluster: ClusterFile = None,
    insecure: Insecure = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    gpu: Gpu = "try",
    on_failure: OnFailure = None,
    on_change: OnChange = None,
    busy_limit: BusyLimit = BUSY_LIMIT_H,
    log: NightLog = None,
    allow_commands: AllowCommands = False,
) -> None:
    """Run for cron and timers: one at a time, catches up by content, writes OUT/summary.json, runs hooks."""
    from flows.schedule.nightly import night

    request = RunRequest(
        cohort=cohort,
        out=out,
        n_cpus=n_cpus,
        work_dir=work_dir,
        dask_address=dask,
        allow_insecure=insecure,
        tls=_tls(dask, tls_ca, tls_cert, tls_key),
        profile=_profile(cluster, dask),
        gpu=gpu,
        allow_commands=allow_commands,
        command=_command(),
    )
    hooks = Hooks(on_failure, on_change, busy_limit, log)
    raise typer.Exit(night(request, hooks, Console()).exit_code)


@app.command()
def verify(out: OutFolder) -> None:
    """Read every published file, record and output again, compare with its sha256, and say what is damaged."""
    from flows.commands.verify import verify_output

    raise typer.Exit(verify_output(out, Console()))


@app.command()
def prune(
    out: OutFolder,
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="Runs that stay, the latest results always among them")
    ] = 7,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete; without it everything is only listed")] = False,
) -> None:
    """List what the last runs do not need, with sizes, and delete it with --yes.

    Only files that this program wrote go, and only where nobody changed them.
    """
    from flows.commands.prune import prune as prune_output

    raise typer.Exit(prune_output(out, keep, Console(), is_agreed=yes))


@app.command(name="export-dicom")
def export_dicom_(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of a whole run of COHORT")],
    folder: Annotated[
        Path,
        typer.Argument(metavar="DICOM", help="Folder for the objects, which name patients: outside COHORT and OUT"),
    ],
    link_table: Annotated[
        Path, typer.Option("--link-table", metavar="FILE", help="As aspects import --link-table wrote it")
    ],
    dicom: Annotated[
        Path | None, typer.Option("--dicom", metavar="DIR", help="Where the imported files lie now, if they were moved")
    ] = None,
    participant_label: Labels = None,
    without_pdf: Annotated[bool, typer.Option("--without-pdf", help="Leave patients' pages out")] = False,
    send: Annotated[
        str | None, typer.Option("--send", metavar="AE@HOST:PORT", help="Send to an archive by C-STORE")
    ] = None,
    stow: Annotated[
        str | None, typer.Option("--stow", metavar="URL", help="Send to a DICOMweb service by STOW-RS")
    ] = None,
    send_again: Annotated[
        bool, typer.Option("--send-again", help="Send also what this archive was sent before")
    ] = False,
    calling_ae: Annotated[
        str, typer.Option("--calling-ae", metavar="AE", help="Our own title, as the archive knows it")
    ] = "ASPECTS",
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", metavar="PEM", help="Authority of the archive's certificate: speak TLS")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", metavar="PEM", help="Our certificate")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="PEM", help="Key of our certificate")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="With --stow: a bearer token")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow an archive beyond this machine without TLS")
    ] = False,
) -> None:
    """Write results as DICOM on the original series (SEG, SR, PDF), and send them; only where the study may.

    Each object is sent to an archive once. Results of masks in template space, and readings, have no original series.
    """
    from flows.commands.export_dicom import ExportRequest, export_dicom
    from flows.commands.send_dicom import Secrecy, archive

    secrecy = Secrecy(tls_ca, tls_cert, tls_key, token_file, insecure)
    request = ExportRequest(
        cohort,
        out,
        folder,
        link_table,
        dicom=dicom,
        labels=tuple(participant_label or ()),
        archive=archive(send, stow, calling_ae, secrecy),
        sends_again=send_again,
        with_pdf=not without_pdf,
    )
    raise typer.Exit(export_dicom(request, Console()))


@app.command()
def serve(
    cohort: CohortFolder,
    out: OutFolder,
    cron: Annotated[str, typer.Option("--cron", help="When to run, as a cron line in local time")] = "0 2 * * *",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Loopback port of Prefect's pages")] = 4200,
    n_cpus: Cpus = 0,
    work_dir: WorkDir = None,
    gpu: Gpu = "try",
    on_failure: OnFailure = None,
    on_change: OnChange = None,
    busy_limit: BusyLimit = BUSY_LIMIT_H,
    log: NightLog = None,
    allow_commands: AllowCommands = False,
) -> None:
    """Keep running, and run the cohort on a schedule as a Prefect deployment, visible in Prefect's own pages."""
    from flows.schedule.serve import serve_nightly

    request = RunRequest(
        cohort,
        out,
        n_cpus=n_cpus,
        work_dir=work_dir,
        gpu=gpu,
        allow_commands=allow_commands,
        command=_command(),
    )
    serve_nightly(request, Hooks(on_failure, on_change, busy_limit, log), cron=cron, port=port, console=Console())


@app.command()
def train(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            help="A network: dwi-unet, region-net or ncct-overlap; a classifier of regions: cta-radiomics, "
            "ncct-radiomics or ncct-asymmetry; of low scores: dwi-dichotomy",
        ),
    ],
    out: OutFolder,
    anatomies: Annotated[
        Path | None,
        typer.Option(
            "--anatomies",
            metavar="DIR",
            help="For synthetic patients: label maps of whole heads, 1 mm, numbered as SynthSeg's",
        ),
    ] = None,
    lesions: Annotated[
        Path | None,
        typer.Option(
            "--lesions",
            metavar="DIR",
            help="For synthetic patients: lesion masks in template space, named sub-XXX...",
        ),
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(
            "--cohort",
            metavar="COHORT",
            help="For a site's own patients (dwi-unet): a cohort folder with diffusion scans and the lesions drawn on "
            "them, as a source of kind native_mask",
        ),
    ] = None,
    cohort_licence: Annotated[
        str,
        typer.Option(
            "--cohort-licence",
            metavar="TEXT",
            help="With --cohort: what consent or licence allows; it is written on the card of the weights",
        ),
    ] = "",
    drawn_by: Annotated[
        str,
        typer.Option(
            "--drawn-by", metavar="SOURCE", help="With --cohort: whose lesions are learned, where several are drawn"
        ),
    ] = "",
    cohort_share: Annotated[
        float,
        typer.Option(
            "--cohort-share",
            help="With --cohort and --anatomies: share of the patients of all steps that come from the cohort",
        ),
    ] = 0.5,
    start: Annotated[
        str,
        typer.Option(
            "--start",
            metavar="WEIGHTS",
            help="Start from trained weights: a .safetensors file with its card, or the name of those that ship, such "
            "as dwi-unet",
        ),
    ] = "",
    preset: Annotated[str, typer.Option("--preset", help="Size of the network: small or tiny")] = "small",
    profile: Annotated[
        str, typer.Option("--profile", help="corrected; as-paper: the paper's recipe; as-code: its code's")
    ] = "corrected",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of training")] = 4000,
    pool: Annotated[int, typer.Option("--pool", min=1, help="Synthetic patients to train on, at most")] = 1500,
    judged: Annotated[
        int,
        typer.Option(
            "--judged", min=1, help="Synthetic patients of validation, and of test; a cohort's own are all judged"
        ),
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn")] = 0,
    hold_out: Annotated[
        list[str] | None,
        typer.Option("--hold-out", metavar="NAME", help="Anatomy that only tests; repeat. Default: one of each kind"),
    ] = None,
    anatomies_licence: Annotated[
        str, typer.Option("--anatomies-licence", help="Licence for the card; default: licence files of the folder")
    ] = "",
    lesions_licence: Annotated[
        str, typer.Option("--lesions-licence", help="Licence for the card; default: licence files of the folder")
    ] = "",
    n_cpus: Cpus = 0,
    work_dir: WorkDir = None,
    dask: DaskAddress = None,
    cluster: ClusterFile = None,
    insecure: Insecure = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    gpu: Gpu = "try",
) -> None:
    """Train the weights of a network on synthetic patients, on a site's own, or on both.

    Run again after a kill, and it goes on. OUT gets the weights, their card and a report; with --cohort, the work
    folder holds patients' images.
    """
    from flows.commands.train import run_training
    from flows.training.request import TrainRequest

    run = RunRequest(
        cohort=cohort or anatomies or out,  # it is not read
        out=out,
        n_cpus=n_cpus,
        work_dir=work_dir,
        dask_address=dask,
        allow_insecure=insecure,
        tls=_tls(dask, tls_ca, tls_cert, tls_key),
        profile=_profile(cluster, dask),
        gpu=gpu,
        command=_command(),
    )
    licences = {"anatomy": anatomies_licence, "lesion": lesions_licence, "patient": cohort_licence}
    request = TrainRequest(
        method,
        anatomies,
        lesions,
        run,
        preset,
        profile,
        n_steps=steps,
        n_pool=pool,
        n_judged=judged,
        seed=seed,
        hold_out=tuple(hold_out or ()),
        licences={kind: text for kind, text in licences.items() if text},
        cohort=cohort,
        drawn_by=drawn_by,
        cohort_share=cohort_share,
        start=start,
    )
    raise typer.Exit(run_training(request, Console()))


cluster_group = typer.Typer(no_args_is_help=True, help="Work on more than one machine.")
app.add_typer(cluster_group, name="cluster")


@cluster_group.command(name="certs")
def cluster_certs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the files; made if absent")],
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="Days for which they are valid")] = 365,
) -> None:
    """Make certificates for a Dask scheduler beyond this machine, its workers, and run --dask."""
    from flows.commands.cluster_certs import cluster_certs

    raise typer.Exit(cluster_certs(folder, days, Console()))


reading = typer.Typer(
    no_args_is_help=True, help="Let people read the scans: make their pages, and collect what they read."
)
app.add_typer(reading, name="reading")


@reading.command(name="make", context_settings={"allow_extra_args": True})
def reading_make(
    rest: typer.Context,
    cohort: CohortFolder,
    readers: Annotated[str, typer.Option("--readers", metavar="A,B", help="Pseudonyms of the readers")],
    repeat: Annotated[
        str, typer.Option("--repeat", metavar="PERCENT", help="Share of the cases that come twice, such as 20%")
    ] = "0",
    training: Annotated[
        str, typer.Option("--training", metavar="IDS", help="Participants to learn the page by, read first: 001,007")
    ] = "",
    scan: Annotated[
        str | None, typer.Option("--scan", metavar="MODALITY", help="Scans to read; default the first that is scored")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="NAME", help="Name of a further round, such as second")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the order; default the study's")] = None,
    participant_label: Labels = None,
    n_cpus: Cpus = 0,
) -> None:
    """Write a work list in random order and one page for each reader, with codes in place of pseudonyms.

    A page needs no network and no server. Run again with a further reader, and only that one is added.
    """
    from flows.commands.reading_make import make_round
    from flows.commands.reading_request import MakeRequest, reader_names, session_name, share_of

    if [one for one in rest.args if one != "%"]:  # "--repeat 20 %" are two words to a shell
        raise UsageError(f"nothing may follow the options, got {' '.join(rest.args)}. Write one list: --readers A,B")
    request = MakeRequest(
        cohort,
        reader_names(readers),
        share_of(repeat),
        tuple(one.strip() for one in training.split(",") if one.strip()),
        tuple(participant_label or ()),
        scan,
        session_name(session),
        seed,
    )
    raise typer.Exit(make_round(request, n_cpus, Console()))


@reading.command(name="collect")
def reading_collect(
    cohort: CohortFolder,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="What the pages saved, or folders of it; none shows the progress"),
    ] = None,
    consensus: Annotated[
        ConsensusRule | None,
        typer.Option("--consensus", help="Combine the readers region by region; kept for later collections"),
    ] = None,
    consensus_reader: Annotated[
        str, typer.Option("--consensus-reader", metavar="NAME", help="Reader under whose name the consensus stands")
    ] = "consensus",
) -> None:
    """Check what readers saved, merge it into readings.tsv, and show who is how far. Twice changes nothing."""
    from flows.commands.reading_collect import collect_readings, consensus_settings

    settings = consensus_settings(consensus, consensus_reader)
    raise typer.Exit(collect_readings(cohort, files or [], settings, Console()))


@app.command()
def pdf(
    out: OutFolder,
    file: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="PDF to write; default OUT/report.pdf")
    ] = None,
) -> None:
    """Write the latest report as a PDF of at most twelve pages, for sending; needs Pango."""
    from flows.commands.brief_pdf import write_brief_pdf

    raise typer.Exit(write_brief_pdf(out, file, Console()))


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make")] = Path("demo"),
    n_participants: Annotated[int, typer.Option("--participants", min=40, max=5000, help="Synthetic patients")] = 80,
    n_cpus: Cpus = 0,
    gpu: Gpu = "try",
) -> None:
    """Make a synthetic cohort in DIR/cohort and run it into DIR/out."""
    from flows.commands.demo import run_demo

    raise typer.Exit(run_demo(folder, n_participants=n_participants, n_cpus=n_cpus, gpu=gpu, console=Console()))


def _command() -> str:
    """The command line, for people."""
    return " ".join(["aspects", *map(shlex.quote, sys.argv[1:])])


def _profile(file: Path | None, address: str | None) -> SlurmProfile | None:
    """What ``--cluster`` says."""
    if file is None:
        return None
    if address is not None:
        raise UsageError("--cluster and --dask must not both be given: each says where the workers are. Give one.")
    from flows.engine.slurm import read_profile

    return read_profile(file)


def _tls(address: str | None, ca: Path | None, cert: Path | None, key: Path | None) -> TlsFiles | None:
    """Bundle the certificates of ``--dask``; all three or none."""
    if ca and cert and key and address:
        return TlsFiles(ca, cert, key)
    if ca or cert or key:
        raise UsageError(
            "--tls-ca, --tls-cert and --tls-key must be given together, and with --dask. Give all of them."
        )
    return None


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; a known failure becomes one clear message and its exit code, an unknown one 70."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        with ends_on_signals():
            command()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    except BaseException as error:
        from flows.commands.failures import failure_of

        failure = failure_of(error)
        failure.show(errors)
        return failure.exit_code
    return 0


def main() -> None:
    """Entry point."""
    gc.set_threshold(50_000, 20, 20)  # looking for garbage was a sixth of what importing costs
    sys.exit(guarded(app))


if __name__ == "__main__":
    main()
