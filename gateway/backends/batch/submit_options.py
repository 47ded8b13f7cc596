"""Options of the submit command: the gateway's own, and what a site puts in their place (pure).

A site adds options in `extra_args`, or as directives (`#SBATCH`, `#PBS`) at the
top of a setup text, where the original server let the batch system read them.
Here they become arguments, so that they pass the launcher's allow-list like
all others. An option replaces those of its *kind* that come before it: the
gateway's, then directives, then `extra_args`. `directives_skip` leaves kinds out.

What an option looks like, which kind it is of, and which kinds exclude each
other, is said once for each batch system by a `Grammar`.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import field, frozen

from gateway.backends.launcher.rules import Rules


@frozen(kw_only=True)
class Grammar:
    """How a submit command's options are written.

    `rules` are the launcher's and `mark` begins a directive. `split` makes
    whole options of words ("-p main" becomes "--partition=main") and raises
    ValueError. `kind` is what an option decides; `exclusive` maps a kind to
    those that it cannot stand beside. `replaceable` are the kinds that the
    gateway gives by itself and that a site may leave out; `named` is the kind
    that a name in `directives_skip` means. `instead` says which of our options
    is for a kind that a site must not give.
    """

    rules: Rules
    mark: str
    split: Callable[[Sequence[str]], Sequence[str]]
    kind: Callable[[str], str]
    named: Callable[[str], str]
    exclusive: Mapping[str, frozenset[str]]
    replaceable: frozenset[str]
    instead: Mapping[str, str] = field(factory=dict)

    @property
    def command(self) -> str:
        """The submit command's base name."""
        return self.rules.submit

    def replaced(self, options: Sequence[str]) -> frozenset[str]:
        """The kinds of earlier options in whose place these come."""
        kinds = {self.kind(option) for option in options}
        return frozenset(kinds).union(*(self.exclusive.get(kind, frozenset()) for kind in kinds))

    def clash(self, options: Sequence[str]) -> str:
        """Two kinds that cannot stand beside each other, as words; empty when there are none."""
        kinds = dict.fromkeys(map(self.kind, options))
        return next(
            (f"both {one} and {other}" for one in kinds for other in kinds if other in self.exclusive.get(one, ())), ""
        )


@frozen
class Directive:
    """A directive in a setup text. `line` counts from 1; `late` ones stand below a command, where none is read."""

    line: int
    text: str
    late: bool


def directives(setup: str, mark: str) -> Iterator[Directive]:
    """The lines of a setup text that begin with a batch system's mark."""
    late = False
    for number, line in enumerate(map(str.strip, setup.split("\n")), 1):
        if line.split()[:1] == [mark]:
            yield Directive(number, line, late)
        elif line and not line.startswith("#"):
            late = True


def site_options(grammar: Grammar, words: Sequence[str]) -> tuple[str, ...]:
    """Words of a site as whole options that the launcher passes on. Raises ValueError that says what is wrong."""
    options = tuple(grammar.split(words))
    for option in options:
        kind = grammar.kind(option)
        if grammar.rules.decides(option):
            instead = grammar.instead.get(kind)
            hint = f"; set {instead}" if instead else ""
            raise ValueError(f"must not hold what the gateway decides itself or by another setting ({option!r}{hint})")
        if not grammar.rules.allows(grammar.command, option):
            raise ValueError(
                f"must be options of {grammar.command} that ask for resources or say how a job is treated, and none"
                f" that names files, users or scripts ({option!r} is not passed on)"
            )
    if clash := grammar.clash(options):
        raise ValueError(f"must not hold {clash}: {grammar.command} takes only one of them")
    return options


def directive_options(grammar: Grammar, setup: str) -> tuple[str, ...]:
    """The options in the directives at the top of a setup text. Raises ValueError that names the line."""
    options: list[str] = []
    for directive in directives(setup, grammar.mark):
        if not directive.late:
            try:
                words = shlex.split(directive.text.removeprefix(grammar.mark), comments=True)
                options += site_options(grammar, words)
            except ValueError as error:
                raise ValueError(f"line {directive.line} ({directive.text}): {error}") from None
    try:
        return site_options(grammar, options)  # all together
    except ValueError as error:
        raise ValueError(f"the {grammar.mark} lines {error}") from None


def late_directives(grammar: Grammar, setup: str) -> str:
    """What to say of directives that nobody reads; empty when there are none."""
    late = [directive for directive in directives(setup, grammar.mark) if directive.late]
    if not late:
        return ""
    lines = ", ".join(f"line {directive.line} ({directive.text})" for directive in late)
    return f"has {grammar.mark} lines below its first command, where {grammar.command} reads none: {lines}"


def skipped(grammar: Grammar, names: Sequence[str]) -> tuple[str, ...]:
    """The kinds that `directives_skip` names. Raises ValueError for what cannot be left out."""
    kinds = tuple(map(grammar.named, names))
    for name, kind in zip(names, kinds, strict=True):
        if kind not in grammar.replaceable:
            raise ValueError(f"must be of {', '.join(sorted(grammar.replaceable))} ({name!r} cannot be left out)")
    return kinds


def merged(grammar: Grammar, skip: Sequence[str], own: Sequence[str], *site: Sequence[str]) -> tuple[str, ...]:
    """The gateway's own options without the kinds in `skip`, and those of a site, each list in place of earlier ones.

    Of two options of one kind in one list the later counts.
    """
    result = [option for option in own if grammar.kind(option) not in skip]
    for options in site:
        replaced = grammar.replaced(options)
        result = [option for option in result if grammar.kind(option) not in replaced]
        result += {grammar.kind(option): option for option in options}.values()
    return tuple(result)
