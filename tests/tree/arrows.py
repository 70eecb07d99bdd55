#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An include may only follow the arrows of docs/architecture.md, and reach a room only by its public headers."""
import source

# Room -> the rooms it may include. A room is the longest of these folders that a file stands in.
ARROWS = {
    "broker/base": set(),
    "broker/net": {"broker/base"},
    "broker/journal": {"broker/base"},
    "rules": {"broker/base"},
    "schemas": {"broker/base"},
    "broker/deadletter": {"broker/base", "broker/journal"},
    "connectors": {"broker/base", "broker/net", "schemas"},
    "executor": {"broker/base", "broker/net", "broker/journal", "rules", "schemas", "connectors"},
}
ROOMS = sorted({*ARROWS, "broker", "broker/cli", "tests"}, key=len, reverse=True)
ARROWS["broker"] = set(ARROWS)
ARROWS["broker/cli"] = {*ARROWS}
ARROWS["tests"] = set(ROOMS)

# What others may include of a room; in the rest of the rooms every header is public.
PUBLIC = {
    "broker/net": {"http.h"},
    "broker/journal": {"journal.h", "record.h"},
    "broker/deadletter": {"deadletter.h"},
    "rules": {"rules.h"},
    # what else speaks to a Redis does it over the same connection
    "connectors": {"connector.h", "probe.h", "registry.h", "redis/conn.h", "redis/command.h", "redis/reply.h", "redis/settings.h", "redis/probe.h"},
    "executor": {"executor.h", "proc.h"},
}


def room_of(path):
    for room in ROOMS:
        if path.startswith(room + "/"):
            return room
    return None


def tested_room(path):
    """tests/unit mirrors the tree and may see the private headers of the room it tests; so may a fuzz target, of any. The suite's
    example is a connector."""
    if path.startswith("tests/conformance/"):
        return "connectors"
    return room_of(path[len("tests/unit/"):]) or room_of("broker/" + path[len("tests/unit/"):]) if path.startswith("tests/unit/") else None


def wrong(root, path, name):
    """Why the file `path` may not include `name`; None when it may."""
    if (root / path).parent.joinpath(name).is_file():
        return None  # bare: from its own folder
    if not (root / name).is_file():
        return "no such header: by path from the root, or bare from the same folder"
    here, there = room_of(path), room_of(name)
    if here == there or there is None or here is None:
        return None
    if there not in ARROWS[here]:
        return f"{here} must not see {there}"
    inside = name[len(there) + 1:]
    if there in PUBLIC and inside not in PUBLIC[there] and tested_room(path) != there and not path.startswith("tests/fuzz/"):
        return f"{name} is private to {there}"
    return None


def check(root):
    for path in source.c_files(root):
        relative = str(path.relative_to(root))
        for line, name in source.includes(path):
            reason = wrong(root, relative, name)
            if reason:
                yield f"{relative}:{line}: \"{name}\": {reason}"


if __name__ == "__main__":
    source.main(check)
