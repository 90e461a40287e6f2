"""A folder of policies: `*.cedar`, read in order of their names as one text, and beside them

    schema.cedarschema   what they speak of, as the version of Kept that they were tested against has it
    cases/*.toml         the table of cases
    policies.sha256      the seal: the hash of the text, written when all cases held

Access control takes an operator's folder only with a seal that fits. A folder that is half copied, or changed by hand and not tested, has
none, and a set that lacks one of its files may allow more than the whole one.
"""

from pathlib import Path
from typing import Final

from kept.policies.sets import PolicyError, PolicySet

SCHEMA: Final = "schema.cedarschema"
SEAL: Final = "policies.sha256"
_LARGEST: Final = 1_000_000


class PolicyFolder:
    """One folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str:
        """All policies as one text. Raises PolicyError where there are none, or where a file does not end with a line's end: joined with
        the next it would mean something else."""
        texts, problems = [], []
        try:
            files = sorted(file for file in self.path.iterdir() if file.name.endswith(".cedar"))
            for file in files:
                text = self._text(file)
                if not text.endswith("\n"):
                    problems.append(f"{file.name} does not end with a line's end")
                texts.append(text)
        except OSError as error:
            raise PolicyError([f"{self.path} cannot be read ({type(error).__name__})"]) from error
        if not texts:
            problems.append(f"{self.path} holds no file *.cedar")
        if problems:
            raise PolicyError(problems)
        return "".join(texts)

    def schema(self) -> str | None:
        """The schema that lies beside them; None where there is none. Raises PolicyError."""
        return self._optional(SCHEMA)

    def seal(self) -> str | None:
        """The hash that the folder says its policies have. Raises PolicyError."""
        text = self._optional(SEAL)
        return None if text is None else text.split()[0] if text.split() else ""

    def write_seal(self, policies: PolicySet) -> None:
        """Says that these policies are whole and tested."""
        (self.path / SEAL).write_text(policies.sha256 + "\n", encoding="ascii")

    def load(self, schema: str) -> PolicySet:
        """The set, without a look at the seal. Raises PolicyError."""
        beside = self.schema()
        if beside is not None and beside != schema:
            raise PolicyError(
                [
                    f"{SCHEMA} is of another version: take over the one of this version, and test the policies again"
                ]
            )
        return PolicySet(self.read(), schema)

    def load_sealed(self, schema: str) -> PolicySet:
        """The set, if it is whole. Raises PolicyError."""
        policies = self.load(schema)
        seal = self.seal()
        if seal is None:
            raise PolicyError([f"there is no {SEAL}: run `kept policy test {self.path} --seal`"])
        if seal != policies.sha256:
            raise PolicyError(
                [f"{SEAL} is not of these policies: they are not whole yet, or were not tested and sealed"]
            )
        return policies

    def _optional(self, name: str) -> str | None:
        file = self.path / name
        return self._text(file) if file.exists() else None

    @staticmethod
    def _text(file: Path) -> str:
        try:
            data = file.read_bytes()
            if len(data) > _LARGEST:
                raise PolicyError([f"{file.name} is larger than {_LARGEST} bytes"])
            return data.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyError([f"{file.name} cannot be read ({type(error).__name__})"]) from error
