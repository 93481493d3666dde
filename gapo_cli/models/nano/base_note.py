"""What a reader must know of the model that a run started from: the noise of the log that the nano base learnt from."""

from __future__ import annotations

NOISY_LOG = {"finished": 0.4, "undone": 0.6, "runs_on": 0.2, "cut_short": 0.2}
"""supervised.log of the experiment that makes the noisy base (conf/experiment); a test compares them."""


def base_note(path: str) -> str | None:
    """One or two sentences for the shipped bases, None for any other model (`path` as in model.path)."""
    log = {name: f"{share:.0%}".replace("%", " %") for name, share in NOISY_LOG.items()}
    if path == "asset:nano-noisy":
        return (
            f"The base is noisy by design: it last learned from an edit log in which only {log['finished']} of the outcomes "
            f"were the finished edit; of the others {log['undone']} were not edited yet, {log['runs_on']} were edited too far "
            f"and {log['cut_short']} were cut short. RL recovers what that noise took. Compare with the base that was trained as "
            "long on finished edits (model.base=clean)."
        )
    if path == "asset:nano-clean":
        return "The base learned from finished edits only, so there is no noise for RL to undo."
    return None
