"""Draws docs/assets/demo.svg: what ``scripts/demo`` shows, from a run of its own.

Run it in .venv, as ``python scripts/picture.py``. It serves the tiny model on real vLLM,
asks it through a tap and draws what the tap and the reader saw, as the demo prints it;
``…`` stands for the lines before.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import demo
from demo_screen import WIDTH, screen
from rich.console import Console
from rich.table import Table
from rich.text import Text

PICTURE = demo.ROOT / "docs" / "assets" / "demo.svg"
# Rich's own format would load a font from elsewhere.
_FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono",
    monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})"
    clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Serve, ask, draw."""
    log = Path(tempfile.mkdtemp(prefix="sg-picture-")) / "server.log"
    port, tap_port = demo.free_port(), demo.free_port()
    process = demo.start_server(port, log)
    try:
        tap = demo.WireTap(tap_port, port)
        question, answer = demo.ask(tap_port, demo.fingerprint_in(log))
    finally:
        demo.stop(process)
    shown = screen(bytes(tap.asked), bytes(tap.answered), question, answer)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(shown), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(demo.ROOT)}")


def draw(shown: Table) -> str:
    """Return the demo's last lines as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text("$ scripts/demo", style="bold"))
    console.print("…\n")
    console.print(shown)
    console.print()
    console.print(Text(demo.VERDICT))
    return console.export_svg(
        title="sg-vllm serve, on real vLLM",
        code_format=_FORMAT,
        unique_id="demo",
    )


if __name__ == "__main__":
    main()
