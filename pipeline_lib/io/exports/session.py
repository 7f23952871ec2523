"""Read session and subject of a recording from the columns of a cohort sheet.

Column names are compared without case; blanks, hyphens and underscores between words are equal.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.settings.reading import hash_settings

# Column names accepted for each fact; the first one with a value counts.
COLUMNS: dict[str, tuple[str, ...]] = {
    "start": ("session_start", "session_start_time", "start", "start_time", "recorded"),
    "subject_id": ("subject", "subject_id", "animal", "animal_id"),
    "species": ("species",),
    "sex": ("sex",),
    "age": ("age", "age_days", "age_weeks", "age_months", "age_years"),
    "date_of_birth": ("date_of_birth", "birth_date", "birthdate", "birthday", "dob"),
    "genotype": ("genotype",),
    "strain": ("strain",),
    "experimenter": ("experimenter",),
    "institution": ("institution",),
    "lab": ("lab", "laboratory"),
    "experiment_description": ("experiment_description", "experiment"),
    "keywords": ("keywords",),
}

# Entries that mean an empty cell.
_EMPTY = {"na", "n/a", "nan", "none", "null", "-", "?"}

_SEXES = {
    **dict.fromkeys(("m", "male"), "M"),
    **dict.fromkeys(("f", "female"), "F"),
    **dict.fromkeys(("u", "unknown"), "U"),
    **dict.fromkeys(("o", "other"), "O"),
    # For Caenorhabditis elegans.
    "xx": "XX",
    "xo": "XO",
}
# Archives require the Latin name.
_SPECIES = {
    "mouse": "Mus musculus",
    "rat": "Rattus norvegicus",
    "fly": "Drosophila melanogaster",
    "fruit fly": "Drosophila melanogaster",
    "zebrafish": "Danio rerio",
    "human": "Homo sapiens",
    "marmoset": "Callithrix jacchus",
    "rhesus macaque": "Macaca mulatta",
}
_LATIN = re.compile(r"[A-Z][a-z]* [a-z]+|http://purl\.obolibrary\.org/obo/NCBITaxon_\d+")
_AMOUNT = r"\d+(?:\.\d+)?"
# An ISO 8601 duration. Two of them, the upper one optional, are the bounds of a range.
_DURATION = re.compile(
    rf"P(?=.)({_AMOUNT}Y)?({_AMOUNT}M)?({_AMOUNT}W)?({_AMOUNT}D)?"
    rf"(T(?=.)({_AMOUNT}H)?({_AMOUNT}M)?({_AMOUNT}S)?)?"
)
_MEASURED = re.compile(rf"({_AMOUNT}) *([A-Za-z]*)")
_UNITS = {
    **dict.fromkeys(("d", "day", "days"), "D"),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), "W"),
    **dict.fromkeys(("mo", "month", "months"), "M"),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), "Y"),
}


@dataclass(frozen=True)
class Subject:
    """Describe the animal of a recording; unknown fields are empty.

    Attributes
    ----------
    subject_id, genotype, strain
        As in the sheet.
    species
        Latin name; a few common names are translated.
    sex
        ``M``, ``F``, ``U`` or ``O``; ``XX`` or ``XO`` for worms.
    age
        Age at the time of the recording, as an ISO 8601 duration.
    date_of_birth
        Midnight, UTC; None if unknown.
    """

    subject_id: str = ""
    species: str = ""
    sex: str = ""
    age: str = ""
    date_of_birth: datetime | None = None
    genotype: str = ""
    strain: str = ""


@dataclass(frozen=True)
class Session:
    """Describe the session of a recording; unknown fields are empty.

    Attributes
    ----------
    start
        Start of the recording, with a time zone; None if unknown.
    session_id
        Session of the sheet.
    subject
        The animal.
    experimenter, keywords
        One entry per name; the sheet separates them by semicolons.
    institution, lab, experiment_description
        As in the sheet.
    """

    start: datetime | None = None
    session_id: str = ""
    subject: Subject = field(default_factory=Subject)
    experimenter: tuple[str, ...] = ()
    institution: str = ""
    lab: str = ""
    experiment_description: str = ""
    keywords: tuple[str, ...] = ()


def read_session(metadata: Mapping[str, str], session_id: str = "") -> tuple[Session, list[str]]:
    """Read session and subject from a video's cells of the cohort sheet.

    Parameters
    ----------
    metadata
        Cells of the sheet by column; columns not in `COLUMNS` are ignored.
    session_id
        Session of the sheet.

    Returns
    -------
    session : Session
        Session and subject, without the cells that cannot be parsed.
    problems : list of str
        One line for each value that archives require and the sheet lacks, and for each cell that
        was left out.
    """
    problems: list[str] = []
    cells = _find_cells(metadata)

    def read(fact: str, parse: Callable[[str], Any], absent: Any = "") -> Any:  # noqa: ANN401
        column, text = cells.get(fact, ("", ""))
        if not text:
            return absent
        try:
            return parse(text)
        except ValueError as error:
            problems.append(f"column `{column}`: {text!r} {error}; left out")
            return absent

    age_unit = cells.get("age", ("", ""))[0].rpartition("_")[2]
    subject = Subject(
        subject_id=read("subject_id", str).replace("/", "-"),
        species=read("species", _parse_species),
        sex=read("sex", _parse_sex),
        age=read("age", lambda text: _parse_age(text, age_unit)),
        date_of_birth=read("date_of_birth", _parse_birth, None),
        genotype=read("genotype", str),
        strain=read("strain", str),
    )
    session = Session(
        start=read("start", _parse_start, None),
        session_id=session_id.replace("/", "-"),
        subject=subject,
        experimenter=read("experimenter", _split, ()),
        institution=read("institution", str),
        lab=read("lab", str),
        experiment_description=read("experiment_description", str),
        keywords=read("keywords", _split, ()),
    )
    return session, [*_list_missing(session), *problems]


def hash_sessions(videos: Iterable[Video]) -> str:
    """Return the hash of the sessions and subjects that exported files of some videos describe.

    It depends on the cells named in `COLUMNS` and on the session, not on other cells or on the
    order of the rows.
    """
    sessions = {video.video: read_session(video.metadata, video.session)[0] for video in videos}
    return hash_settings(*(f"{video}: {asdict(sessions[video])}" for video in sorted(sessions)))


def _find_cells(metadata: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the column and the text of each fact that has a value."""
    known = {
        # HDF5 texts cannot contain NUL.
        re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_"): text.replace("\0", "").strip()
        for name, text in metadata.items()
        if text.strip().lower() not in _EMPTY
    }
    return {
        fact: next((name, known[name]) for name in names if known.get(name))
        for fact, names in COLUMNS.items()
        if any(known.get(name) for name in names)
    }


def _list_missing(session: Session) -> list[str]:
    subject = session.subject
    absent = [
        name
        for name, known in (
            ("subject", subject.subject_id),
            ("species", subject.species),
            ("sex", subject.sex),
            ("age", subject.age or subject.date_of_birth),
        )
        if not known
    ]
    problems = []
    if session.start is None:
        problems.append(
            "no time of the recording: the NWB file gives 1970-01-01; a column `start` of the "
            "sheet (ISO 8601, such as 2024-05-17T09:30+02:00) sets it"
        )
    if absent:
        names = ", ".join(f"`{name}`" for name in absent)
        problems.append(f"the sheet gives no {names}, which archives of NWB files require")
    return problems


def _parse_start(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a time of ISO 8601, such as 2024-05-17T09:30+02:00") from None
    # A time without a zone is taken as UTC, so that it means the same on every machine.
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # NWB readers reject offsets with seconds, which historical time zones have.
    shift = moment.utcoffset()
    return moment.astimezone(UTC) if shift and shift.total_seconds() % 60 else moment


def _parse_birth(text: str) -> datetime:
    try:
        born = date.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a date of ISO 8601, such as 2024-02-29") from None
    return datetime.combine(born, time(), UTC)


def _parse_sex(text: str) -> str:
    if text.lower() not in _SEXES:
        raise ValueError("is none of M, F, U (unknown), O (other)")
    return _SEXES[text.lower()]


def _parse_species(text: str) -> str:
    species = _SPECIES.get(text.lower(), text)
    if not _LATIN.fullmatch(species):
        raise ValueError("is not a Latin name such as Mus musculus, nor a link to NCBI's taxonomy")
    return species


def _parse_age(text: str, unit: str) -> str:
    """Return an ISO 8601 duration; `unit` is the unit in the column's name, if any."""
    lower, slash, upper = text.partition("/")
    bounds = [bound for bound in (lower, upper) if bound]
    if bounds and all(_DURATION.fullmatch(bound) for bound in bounds):
        return f"{lower}{slash}{upper}"
    measured = _MEASURED.fullmatch(text)
    found = _UNITS.get((measured[2] or unit).lower()) if measured else None
    if measured is None or found is None:
        raise ValueError("is neither a duration of ISO 8601, such as P90D, nor a number of days")
    return f"P{measured[1]}{found}"


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())
