"""licences.py DENY_TOML < METADATA: holds `cargo metadata` against deny.toml's licences, bans and sources.

A package passes when its SPDX expression can be satisfied with allowed licences alone. Prints every package that does
not pass and exits 1, or one line with the count.
"""

import json
import re
import sys
import tomllib

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def read_lists(path):
    """The allowed licences and the banned crates of deny.toml."""
    with open(path, "rb") as file:
        table = tomllib.load(file)
    return set(table["licenses"]["allow"]), {entry["crate"] for entry in table["bans"]["deny"]}


def satisfied(expression, allowed):
    """Whether an SPDX expression holds with the allowed licences. `/` is the old spelling of OR."""
    tokens = re.findall(r"\(|\)|[A-Za-z0-9.+-]+", expression.replace("/", " OR "))
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else None

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1]

    def either():
        result = both()
        while peek() == "OR":
            take()
            result = both() or result
        return result

    def both():
        result = one()
        while peek() == "AND":
            take()
            result = one() and result
        return result

    def one():
        token = take()
        if token == "(":
            result = either()
            if take() != ")":
                raise ValueError(expression)
            return result
        if peek() == "WITH":
            take()
            token = f"{token} WITH {take()}"
        return token in allowed

    result = either()
    if position != len(tokens):
        raise ValueError(expression)
    return result


def faults(package, allowed, banned):
    name = f"{package['name']} {package['version']}"
    expression = package["license"]
    try:
        if not expression or not satisfied(expression, allowed):
            yield f"{name}: expected a licence of deny.toml, found {expression or 'none'}"
    except (ValueError, IndexError):
        yield f"{name}: expected an SPDX expression, found {expression}"
    if package["name"] in banned:
        yield f"{name}: banned by deny.toml"
    if package["source"] not in (None, CRATES_IO):
        yield f"{name}: expected crates.io or a path of this workspace, found {package['source']}"


def main():
    allowed, banned = read_lists(sys.argv[1])
    packages = json.load(sys.stdin)["packages"]
    found = [line for package in packages for line in faults(package, allowed, banned)]
    print("\n".join(found) if found else f"{len(packages)} packages: licences, bans and sources as deny.toml has them")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
