#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares two outputs of tests/kvm/conformance: Linux's own KVM and Keel.

  tests/system/conformance.py LINUX KEEL

A line that differs is an error unless tests/kvm/conformance/differs has it. That list may hold capability
values and at most 15 other lines, none in P0 to P2.
"""
import pathlib
import re
import sys

DIFFERS = pathlib.Path(__file__).resolve().parent.parent / "kvm/conformance/differs"
LINE = re.compile(r"^(CAP|P[0-3]|RUN|group|replay) .*")
OFFERED = ", offered"
OTHERS = 15


def capability(label):
    return label.startswith("CAP ") or label.endswith(OFFERED)


def intended():
    """[(pattern, regular expression)] of the list, and what is wrong with it."""
    entries, problems = [], []
    for line in DIFFERS.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern, _, reason = line.partition("  ")
        if not reason.strip():
            problems.append(f"differs: no reason: {line}")
        entries.append((pattern, re.compile(".*".join(map(re.escape, pattern.split("*"))))))
    others = [p for p, _ in entries if not capability(p)]
    if len(others) > OTHERS:
        problems.append(f"differs: {len(others)} lines beside capabilities, {OTHERS} may be")
    problems += [f"differs: P0 to P2 may not differ: {p}" for p in others if re.match("P[0-2] ", p)]
    return entries, problems


def results(text):
    """{label: result}; a label that comes again is numbered."""
    found, times = {}, {}
    for line in text.splitlines():
        if not LINE.match(line):
            continue
        label, _, result = line.rpartition(": ")
        times[label] = times.get(label, 0) + 1
        found[label if times[label] == 1 else f"{label} ({times[label]})"] = result
    return found


def row_missing(label, there):
    """The other one does not offer what the label's row is about."""
    return any(label.startswith(row[:-len(OFFERED)] + ",") for row, result in there.items()
               if row.endswith(OFFERED) and result == "no")


def compare(linux, keel):
    """(lines compared, intended differences found, problems, notes)"""
    linux, keel = results(linux), results(keel)
    entries, problems = intended()
    used = set()
    for label in dict.fromkeys([*linux, *keel]):
        a, b = linux.get(label), keel.get(label)
        if a == b or (b is None and row_missing(label, keel)) or (a is None and row_missing(label, linux)):
            continue
        allowed = [p for p, regex in entries if regex.fullmatch(label)]
        used.update(allowed)
        if not allowed:
            problems.append(f"{label}: Linux {a}, Keel {b}")
    notes = [f"note: the list of differences has what does not differ: {p}" for p, _ in entries if p not in used]
    return len(linux), len(used), problems, notes


def summary(linux, keel):
    compared, used, problems, notes = compare(linux, keel)
    return "\n".join([*problems, *notes, f"COMPARED {compared} lines, {len(problems)} problems, "
                      f"{used} intended differences"])


if __name__ == "__main__":
    text = summary(*(pathlib.Path(p).read_text(errors="replace") for p in sys.argv[1:3]))
    print(text)
    sys.exit(" 0 problems" not in text.splitlines()[-1])
