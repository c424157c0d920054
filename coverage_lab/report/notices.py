"""What a run tells about its input beside the counts: what was taken as the prompt, and what to look into."""

from __future__ import annotations

from coverage_lab.files.manifest import Manifest
from coverage_lab.schema import QUARANTINE_REMEDIES
from coverage_lab.untrusted.text import shown

#: Shares above which a loss is a warning.
_MUCH = 0.05


def notices(run: Manifest) -> list[str]:
    """Sentences for the terminal, each one line."""
    counts = run.counts
    told = [run.format_note + "."] if run.format_note else []
    told += [f"Skipped {shown(name)}: {shown(why, 300)}" for name, why in run.skipped_files.items()]
    if counts.rows_left_out:
        told.append(f"{counts.rows_left_out:,} rows were left out: by traffic.filter, or as no prompts.")
    if counts.rows_same_turn:
        told.append(
            f"{counts.rows_same_turn:,} rows are further calls under a user turn that is counted already."
        )
    if counts.prompts_repaired:
        told.append(f"{counts.prompts_repaired:,} prompts held half a surrogate pair, now U+FFFD.")
    if counts.prompts_unreadable:
        told.append(
            f"{counts.prompts_unreadable:,} prompts have no readable text (redaction marks, hashes, base64, "
            "no letters); an account with mostly such prompts is inconclusive."
        )
    if counts.rows_quarantined > _MUCH * counts.rows_in:
        reason, number = max(counts.quarantine_reasons.items(), key=lambda pair: pair[1])
        detail = counts.quarantine_details.get(reason, "")
        told.append(
            f"Warning: {counts.rows_quarantined:,} of {counts.rows_in:,} rows are in quarantine, most of "
            f"them ({number:,}) as {reason} ({detail}): {QUARANTINE_REMEDIES[reason]}"
        )
    told += [f"Warning: {shown(name)}: {shown(what, 400)}" for name, what in run.changed_files.items()]
    told += [
        f"Warning: {number:,} values of {name} were unusable and are null; map it in traffic.columns, or "
        "mend it at the source"
        for name, number in counts.fields_dropped.items()
        if number > _MUCH * counts.rows_in
    ]
    return told
