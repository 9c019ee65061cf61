"""Runs the Python of README.md as one program, with the broker of DAYBOOK_URL in place of the one it names."""

import ast
import asyncio
import inspect
import os
from pathlib import Path


async def main() -> None:
    page = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    blocks = [rest.split("```")[0] for rest in page.split("```python\n")[1:]]
    assert len(blocks) > 5, f"{len(blocks)} blocks"
    source = "\n".join(blocks).replace("nats://127.0.0.1:4222", os.environ["DAYBOOK_URL"])
    names: dict = {}
    running = eval(compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    assert inspect.iscoroutine(running), "the page awaits"
    await running
    # What the page says that it prints.
    assert [(row["store"], str(row["revenue"])) for row in names["answer"]["rows"]] == [("north", "129.95")], names[
        "answer"
    ]
    assert names["live"].rows[("north",)]["revenue"] == 130, names["live"].rows
    assert (names["alert"]["alert"], names["alert"]["group"]) == ("in_debt", {"store": "south"}), names["alert"]


if __name__ == "__main__":
    asyncio.run(main())
