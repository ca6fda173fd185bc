"""Runs a real server with two API servers, and draws its metrics.

Started by ``scripts/draw-metrics``. Before it draws, it checks that the metrics of both
processes add up to what its clients have seen on the wire.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import draw_metrics_panels as panels  # noqa: E402
from draw_metrics_scrapes import Scraper  # noqa: E402
from draw_metrics_traffic import LENGTH_S, ROTATE_AT_S, Traffic  # noqa: E402

from tests.vllm_integration.servers import (  # noqa: E402
    MODEL_PATH,
    QUICK,
    Server,
    start,
    wait_for,
)

PICTURE = ROOT / "docs" / "assets" / "metrics.svg"
KEY_PERIOD_S = 30
COMMAND = ("stainedglass_output_protection.vllm.entrypoint", "serve", str(MODEL_PATH))
_LINE = re.compile(r"\(ApiServer_(\d).*request id=\w+ .*outcome=(\w+)")


def main() -> None:
    """Run, check and draw; or draw an earlier run."""
    parser = argparse.ArgumentParser(prog="scripts/draw-metrics", description=__doc__)
    parser.add_argument("--from", dest="earlier", type=Path, help="an earlier run")
    options = parser.parse_args()
    if options.earlier:
        measured = json.loads(options.earlier.read_text(encoding="utf-8"))
    else:
        folder = Path(tempfile.mkdtemp(prefix="sg-draw-metrics-"))
        measured = run(folder)
        kept = folder / "run.json"
        kept.write_text(json.dumps(measured), encoding="utf-8")
        say(f"the run is in {kept}")
    PICTURE.write_text(panels.picture(measured), encoding="utf-8")
    say(f"wrote {PICTURE.relative_to(ROOT)}")


def run(folder: Path) -> dict[str, Any]:
    """Serve, ask and scrape; return the scrapes and what was asked."""
    server = start(
        "server",
        (*COMMAND, *QUICK, "--api-server-count", "2"),
        folder,
        variables={"SG_KEY_REFRESH_TIME_S": str(KEY_PERIOD_S)},
        say=say,
    )
    try:
        found = re.search(r"SG_SERVER_IDENTITY=(SHA256:\S+)", server.log)
        assert found, server.log_path
        traffic = Traffic(server.url, found[1])
        with Scraper(server.url) as scraper:
            say(f"asking for {LENGTH_S} s")
            with traffic:
                time.sleep(ROTATE_AT_S)
                server.process.send_signal(signal.SIGUSR1)
                time.sleep(LENGTH_S - ROTATE_AT_S)
            sent = dict(traffic.sent)
            wait_for(
                lambda: outcomes(scraper.latest) == sent,
                f"metrics that add up: asked {sent}, counted {outcomes(scraper.latest)}",
                60,
            )
        check(server, scraper.scrapes, sent)
        return {"sent": sent, "rotated_at_s": ROTATE_AT_S, "scrapes": scraper.scrapes}
    finally:
        server.end()


def outcomes(scrape: dict[str, Any]) -> dict[str, int]:
    """Return how many requests a scrape has counted, by outcome."""
    return {name: int(count) for name, count in scrape["outcomes"].items()}


def check(server: Server, scrapes: list[dict[str, Any]], sent: dict[str, int]) -> None:
    """Stop with a sentence if anything does not add up."""
    for name in sent:
        counts = [scrape["outcomes"].get(name, 0) for scrape in scrapes]
        # Whichever process is asked, it tells the sum of both.
        if counts != sorted(counts):
            sys.exit(f"draw-metrics: the count of {name} has gone down")
    lines = _LINE.findall(server.log)
    by_process = Counter(process for process, _ in lines)
    if Counter(outcome for _, outcome in lines) != sent or len(by_process) != 2:
        sys.exit(f"draw-metrics: the log has {Counter(lines)}, sent were {sent}")
    shares = " + ".join(str(by_process[it]) for it in sorted(by_process))
    say(f"sent {sent}; the two processes counted {shares}: it adds up")


def say(words: str) -> None:
    """Print a line of progress."""
    print(f"draw-metrics: {words}", flush=True)


if __name__ == "__main__":
    main()
