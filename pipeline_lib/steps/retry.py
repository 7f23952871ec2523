"""Trying again the videos of a shard that ended badly, though nothing about them has changed."""

import logging

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import Config
from pipeline_lib.core.tables import STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.infer import run_infer
from pipeline_lib.steps.ledger import BAD_STATUSES
from pipeline_lib.steps.plan import keep_planned
from pipeline_lib.steps.probe import run_probe

logger = logging.getLogger(__name__)


def retry_failed(config: Config, results: Results, shard: str) -> None:
    """Probe and infer again what failed or was quarantined in a shard; leave the rest alone.

    A shard that has not been inferred yet, or in which every video is done, is left as it is.

    Raises
    ------
    ModelError, StoreError
        As the steps that are run again.
    """
    table = results.shard(shard).infer(config.training.name)
    if not table.exists():
        logger.info("shard %s: not inferred yet, nothing to try again", shard)
        return
    rows = keep_planned(read_table(table, STAGE_COLUMNS), results, shard)
    bad = [row["video"] for row in rows if row["status"] in BAD_STATUSES]
    if not bad:
        logger.info("shard %s: every video is done", shard)
        return
    logger.info("shard %s: trying again %s", shard, ", ".join(bad))
    probed = read_table(results.shard(shard).probe, STAGE_COLUMNS)
    if any(row["video"] in bad and row["status"] != VideoStatus.DONE for row in probed):
        run_probe(config, results, shard)
    run_infer(config, results, shard)
