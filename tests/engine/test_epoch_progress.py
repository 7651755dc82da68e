"""What the progress of an epoch says about time."""

import time

from ppcls.engine.progress import EpochProgress


def test_only_waiting_for_batches_counts_as_data():
    """Neither steps nor what follows them (log lines, checkpoints)."""

    def loader():
        for number in range(3):
            time.sleep(0.02)
            yield number

    progress = EpochProgress("Train", 1, 1, 3, visible=False)
    seen = []
    for batch in progress.batches(loader()):
        seen.append(batch)
        time.sleep(0.05)
        progress.step_done(2)
        time.sleep(0.2)
    timing = progress.close()
    assert seen == [0, 1, 2]
    assert progress.data_seconds >= 0.06
    assert timing["data_share"] < 0.3
    assert timing["seconds"] >= 0.8
