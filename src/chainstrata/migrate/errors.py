"""What can go wrong with the schema's history.

MigrationError
├── NotMigratable         a change PostgreSQL cannot make to an object that is there
├── RevisionUnusable      a revision's file cannot be loaded, or says what none may say
├── NameTaken             an object of that name belongs to something else
├── IndexNotBuilt         a concurrent build ended without a usable index
├── MigrationEdited       an applied revision's file is not what it was
├── HistoryUnusable       revisions that do not fit together, or whose files are missing
├── MigrationFailed       a step failed; the record says which
├── MigrationBusy         another migration is under way and did not end in time
├── NeedsConsent          what would be undone loses data
├── NotMigrated           the database is behind what the request needs
├── ScratchDenied         no scratch database can be made to compare with
├── TimescaleMissing      the settings ask for hypertables and the database cannot have them
├── LintUnavailable       the linter is not installed
└── LintFailed            the linter did not do its work
"""

from chainstrata.errors import ChainStrataError


class MigrationError(ChainStrataError):
    """The schema and its history disagree."""

    code = "migration"


class NotMigratable(MigrationError):
    """A change PostgreSQL cannot make to an object that is there."""

    code = "not_migratable"

    def __init__(self, what: str, problem: str, *, hint: str = "") -> None:
        super().__init__(
            f"{what} {problem}",
            hint=hint or "Declare it under a new name, copy the rows in a revision of your own, drop the old one later.",
        )


class RevisionUnusable(MigrationError):
    """A revision's file that cannot be loaded or says what no revision may say."""

    code = "revision_unusable"


class NameTaken(MigrationError):
    """An object of that name is there and belongs to something else."""

    code = "name_taken"

    def __init__(self, kind: str, name: str, owner: str) -> None:
        super().__init__(f"{kind} {name} is there already and belongs to {owner}", hint="Give one of them another name.")


class IndexNotBuilt(MigrationError):
    """A concurrent build ended without an index that can be used."""

    code = "index_not_built"

    def __init__(self, index: str, table: str) -> None:
        super().__init__(f"index {index} of {table} is still invalid", hint="Run `chainstrata migrate up` again: it drops and rebuilds it.")


class MigrationEdited(MigrationError):
    """A revision's file is not what it was when it ran: what it says now is not what the database has."""

    code = "migration_edited"

    def __init__(self, name: str, *, applied: str, found: str) -> None:
        super().__init__(
            f"migration {name!r} changed after it was applied (was {applied:.8}, is {found:.8})",
            hint="Restore the released file and put the change in a new migration.",
        )


class HistoryUnusable(MigrationError):
    """Revisions that do not fit together, or whose files are missing."""

    code = "migration_history"


class MigrationFailed(MigrationError):
    """A step failed. What came before it stands, and the record says how far it came."""

    code = "migration_failed"

    def __init__(self, revision: str, step: int, steps: int, title: str, problem: str, *, hint: str = "") -> None:
        where = f"step {step} of {steps}, {title}" if steps > 1 else title
        super().__init__(
            f"migration {revision} failed at {where}: {problem}",
            hint=hint or "Mend the cause and run the same command again: it goes on at that step.",
        )
        self.revision = revision
        self.step = step


class MigrationBusy(MigrationError):
    """Another migration of this database did not end in time."""

    code = "migration_busy"
    retryable = True
    http_status = 409

    def __init__(self, holder: str, seconds: float) -> None:
        super().__init__(
            f"another migration is under way ({holder}) and did not end within {seconds:g} s",
            hint="Wait for it, or end its session; migrate.wait_timeout says how long to wait.",
        )


class NeedsConsent(MigrationError):
    """What would be undone loses data, and nobody has agreed to that."""

    code = "needs_consent"
    http_status = 409
    exit_code = 2

    def __init__(self, losses: "list[str]") -> None:
        shown = ", ".join(losses[:5]) + (f" and {len(losses) - 5} more" if len(losses) > 5 else "")
        super().__init__(f"this would lose {shown}", hint="`--dry-run` lists the steps. With `--yes` it is done.")
        self.losses = losses


class NotMigrated(MigrationError):
    """The database is behind what the request needs."""

    code = "not_migrated"

    def __init__(self, pending: "list[str]") -> None:
        shown = ", ".join(pending[:5]) + ("…" if len(pending) > 5 else "")
        super().__init__(f"{len(pending)} migrations are not applied: {shown}", hint="Run `chainstrata migrate up`.")
        self.pending = pending


class ScratchDenied(MigrationError):
    """No scratch database can be made to compare with."""

    code = "scratch_denied"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"cannot make a scratch database to build the declared schema in: {problem}",
            hint="Use a role that may: ALTER ROLE … CREATEDB, or run against a development server.",
        )


class TimescaleMissing(MigrationError):
    """The settings ask for hypertables and the database cannot have them."""

    code = "timescale_missing"
    http_status = 409

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"partitions.timescale asks for hypertables, and {problem}",
            hint="Let an administrator run CREATE EXTENSION timescaledb in the database, or leave the setting empty.",
        )


class LintUnavailable(MigrationError):
    """The linter is not installed."""

    code = "lint_unavailable"

    def __init__(self) -> None:
        super().__init__("squawk, which lints migrations, is not installed", hint="Install the extra: pip install 'chainstrata[lint]'.")


class LintFailed(MigrationError):
    """The linter itself did not do its work."""

    code = "lint_failed"
