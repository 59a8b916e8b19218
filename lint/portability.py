"""Hold the product to what Linux, macOS and Windows share: POSIX-only calls stand in egret.posix alone.

Run from the checkout's root: prints one line per finding and exits 1 when there is any.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TREES = ("layers/common/egret", "functions", "egress", "local", "cli")
ALLOWED = Path("layers/common/egret/posix.py")

MODULES = {"fcntl", "grp", "msvcrt", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "winreg"}
"""Modules that exist on one kind of system only."""

NAMES = {
    "os": {
        *("O_DIRECTORY", "O_NOFOLLOW", "chown", "fchmod", "fchown", "fork", "forkpty", "geteuid", "getpgid", "getuid"),
        *(
            "killpg",
            "mkfifo",
            "posix_fadvise",
            "posix_fallocate",
            "posix_spawn",
            "pread",
            "pwrite",
            "sched_getaffinity",
        ),
        *("setgid", "setpgid", "setsid", "setuid", "uname", "wait", "waitpid", "waitid"),
    },
    "signal": {
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1"),
        *("SIGUSR2", "alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
    },
    "socket": {"AF_UNIX", "SO_REUSEPORT"},
    "asyncio": {"open_unix_connection", "start_unix_server"},
}
"""Names that their module has on one kind of system only."""

METHODS = {"add_signal_handler", "remove_signal_handler", "create_unix_connection", "create_unix_server"}
"""Methods of event loops that Windows lacks."""

ARGUMENTS = {"creationflags", "preexec_fn", "process_group", "start_new_session", "startupinfo"}
"""Arguments of subprocess that one kind of system ignores or refuses."""

Finding = tuple[int, str]


def findings(source: str) -> list[Finding]:
    """What a module uses of one system only: (line number, name), in the order of lines."""
    tree = ast.parse(source)
    aliases = dict(_aliases(tree))
    return sorted({found for node in ast.walk(tree) for found in _findings(node, aliases)})


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The local names of the modules in NAMES: `import os as system` gives ("system", "os")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.asname or each.name, each.name) for each in node.names if each.name in NAMES)


def _findings(node: ast.AST, aliases: dict[str, str]) -> Iterator[Finding]:
    match node:
        case ast.Import(names=names):
            yield from ((node.lineno, each.name) for each in names if each.name.split(".")[0] in MODULES)
        case ast.ImportFrom(module=str(module), level=0, names=names):
            if module.split(".")[0] in MODULES:
                yield node.lineno, module
            yield from ((node.lineno, f"{module}.{each.name}") for each in names if each.name in NAMES.get(module, ()))
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in NAMES.get(
            aliases.get(name, ""), ()
        ):
            yield node.lineno, f"{aliases[name]}.{attribute}"
        case ast.Attribute(attr=attribute) if attribute in METHODS:
            yield node.lineno, attribute
        case ast.keyword(arg=str(argument)) if argument in ARGUMENTS:
            yield node.lineno, argument


def check(root: Path) -> list[str]:
    """One sentence per finding in the product's trees under `root`."""
    return [
        f"{path.relative_to(root).as_posix()}:{line}: {name} is not on every system: it belongs in {ALLOWED.as_posix()}"
        for path in _modules(root)
        for line, name in findings(path.read_text(encoding="utf-8"))
    ]


def _modules(root: Path) -> Iterable[Path]:
    found = (path for tree in TREES for path in sorted((root / tree).rglob("*.py")))
    return (path for path in found if path != root / ALLOWED)


def main() -> int:
    """Print what is wrong; returns the exit code."""
    sentences = check(Path.cwd())
    for sentence in sentences:
        print(sentence)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
