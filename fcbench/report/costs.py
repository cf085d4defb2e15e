"""What a run cost, as the runner measured it: wall-clock seconds, memory by three marks, bytes kept."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, median

from fcbench.report.runs import Run, group_of

GIB, MIB = 2**30, 2**20


@dataclass(frozen=True)
class Costs:
    """One run's costs; None where nothing was measured.

    ``fit_seconds`` is the median over the groups of subjects. ``sample_seconds`` is the median over pictures drawn
    warm, each its share of a batch; ``single_seconds`` that of a few drawn alone, which took from ``single_low`` to
    ``single_high``. ``total_seconds`` is one fit and one picture alone, as the paper counts (its share of a batch if
    none was drawn alone). Loading and warming up are separate. ``peak_gib`` is the higher of a fit's peak and that of
    a picture alone (of a batch if none was drawn alone), in the memory that counts (``memory_kind``: allocated on a
    GPU, resident beyond the loaded stack on a CPU). ``reserved_gib`` is what PyTorch took from the GPU, ``device_gib``
    the high-water mark of the whole device or process, batches and all.
    ``prior_seconds`` went into what a group's class words need, made once for all who share them; the most of any
    group, and in no other column.
    ``prior_``, ``fit_`` and ``sample_peak_gib`` are the phases' own peaks, the last in batches.
    """

    memory_kind: str
    fit_seconds: float | None = None
    sample_seconds: float | None = None
    single_seconds: float | None = None
    single_low: float | None = None
    single_high: float | None = None
    total_seconds: float | None = None
    load_seconds: float | None = None
    warm_up_seconds: float | None = None
    peak_gib: float | None = None
    reserved_gib: float | None = None
    device_gib: float | None = None
    stored_mib_per_subject: float | None = None
    prior_seconds: float | None = None
    prior_peak_gib: float | None = None
    fit_peak_gib: float | None = None
    sample_peak_gib: float | None = None


def costs(run: Run) -> Costs:
    """The costs of a run; yardsticks, for which nothing was drawn, and pictures made elsewhere have none."""
    kind = str(run.config.get("memory_kind") or "")
    if not run.has_costs or not run.generations:
        return Costs(kind)
    made = run.generations.values()
    alone = _told(run, "single_peak_bytes")
    low, high = run.config.get("single_seconds_range") or (None, None)
    fit = median({group_of(g.case): g.fit_seconds for g in made}.values())
    sample, single = median(g.sample_seconds for g in made), _told(run, "single_seconds")
    kept = {group_of(g.case): g.stored_bytes / len(g.case.subjects) / MIB for g in made}
    return Costs(
        memory_kind=kind,
        fit_seconds=fit,
        sample_seconds=sample,
        single_seconds=single,
        single_low=low,
        single_high=high,
        total_seconds=fit + (sample if single is None else single),
        load_seconds=_told(run, "load_seconds"),
        warm_up_seconds=_told(run, "warm_up_seconds"),
        peak_gib=max(g.peak_bytes if alone is None else max(g.fit_peak_bytes, alone) for g in made) / GIB,
        reserved_gib=_told(run, "peak_reserved", GIB),
        device_gib=_told(run, "peak_device", GIB),
        stored_mib_per_subject=fmean(kept.values()),
        prior_seconds=max(g.prior_seconds for g in made),
        prior_peak_gib=max(g.prior_peak_bytes for g in made) / GIB,
        fit_peak_gib=max(g.fit_peak_bytes for g in made) / GIB,
        sample_peak_gib=max(g.sample_peak_bytes for g in made) / GIB,
    )


def _told(run: Run, key: str, unit: float = 1.0) -> float | None:
    value = run.config.get(key)
    return None if value is None else float(value) / unit
