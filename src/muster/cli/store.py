"""`muster store`: what the folder of finished cells holds, whether it is sound, and what nobody needs."""

import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress

from muster.config.load import load_config
from muster.errors import DamagedError, MusterError, as_one
from muster.jobs.fingerprint import cell_fingerprint
from muster.jobs.store import Store, reason, store_folder
from muster.plan.plan import make_plan


def store(args: Namespace) -> int:
    """Dispatch on what is asked; status 1 if `verify` finds damage."""
    given = {"results": str(args.results)} if args.results else {}
    folder = args.store or store_folder(load_config(args.config, given))
    if folder is None:
        raise MusterError(f"{args.config}: store", "switched off", "Name a folder there, or give --store")
    actions: dict[str, Callable[[Namespace, Store], int]] = {"list": _list, "verify": _verify, "gc": _gc}
    return actions[args.action](args, Store(folder))


def _list(args: Namespace, found: Store) -> int:
    """Address, code, day of the last use, size and cell of every object."""
    count, total = 0, 0
    for kept in found.objects():
        try:
            made, size = kept.manifest()["identity"], kept.size
            day = time.strftime("%Y-%m-%d", time.localtime(kept.used))
        except DamagedError as error:
            print(f"{kept.address[:12]}  {error.found}: set it aside with `muster store verify`")
            continue
        except OSError as error:
            print(f"{kept.address[:12]}  cannot be read ({reason(error)})")
            continue
        print(f"{kept.address[:12]}  {made['code']}  {day}  {size / 1e3:8.1f} kB  {made['cell']}")
        count, total = count + 1, total + size
    print(f"{count} cells, {total / 1e6:.1f} MB in {found.folder}")
    return 0


def _verify(args: Namespace, found: Store) -> int:
    """Check every byte; what is damaged is named and set aside, so that its cell is made anew when it is wanted."""
    damaged = unread = 0
    for kept, error in found.faulty():
        if isinstance(error, OSError):
            print(f"{kept.path}: cannot be read ({reason(error)}); left where it is")
            unread += 1
        else:
            print(f"{error.place}: {error.found}; {found.set_aside(kept)}")
            damaged += 1
    sound = sum(1 for _ in found.objects()) - unread
    also = f", {unread} that cannot be read" if unread else ""
    print(f"{damaged} damaged, {sound} sound cells{also} in {found.folder}")
    return 1 if damaged else 0


def _gc(args: Namespace, found: Store) -> int:
    """Remove what was set aside or left half made, and cells that neither the plan nor anybody lately wanted."""
    plan = make_plan(load_config(args.config), args.config)
    if broken := [error for name, error in plan.left_out.items() if "." not in name]:  # stray files want no cells
        raise as_one(broken)
    kept = {(cell.key, cell_fingerprint(cell.experiment, cell.cell, cell.dtype)) for cell in plan.cells.values()}
    unused = list(found.unused(kept, args.days))
    leftovers = found.leftovers()
    gone = total = 0
    for entry in unused:
        with suppress(OSError):  # somebody else's, or gone by now
            size = entry.size
            if args.dry_run or found.remove(entry, args.days):
                gone, total = gone + 1, total + size
    if not args.dry_run:
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=True)
    word = "would remove" if args.dry_run else "removed"
    print(f"{word} {gone} unused cells, {total / 1e6:.1f} MB, and {len(leftovers)} leftovers in {found.folder}")
    return 0
