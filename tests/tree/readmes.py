#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every folder says in its README.md what it is for."""
import source

# Below these, folders are data or mirror others.
LEAVES = ("tests/unit/", "tests/fuzz/", "tests/cli/", "tests/integration/", "tests/support/", "tests/bench/", "tests/conformance/",
          "tests/simulation/", "deploy/", "docs/", "schemas/")


def check(root):
    for folder in sorted({path.parent for path in source.files(root)}):
        name = f"{folder.relative_to(root)}/"
        if name.startswith("./") or name.startswith(".ci/") or (name.startswith(LEAVES) and name not in LEAVES):
            continue
        if not (folder / "README.md").exists():
            yield f"{name}: no README.md"


if __name__ == "__main__":
    source.main(check)
