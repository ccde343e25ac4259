"""What a client of bus or store trusts, and what it proves itself with: files, read for each
connection, so that what replaces them needs no restart."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from shared.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    ca: Path | None = None  # None: the system's
    certificate: Path | None = None
    key: Path | None = None
    hostname: str | None = None  # in the server's certificate; None: the address

    def context(self) -> ssl.SSLContext:
        """Raises OSError, ssl.SSLError among it."""
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context

    def check(self, settings: str) -> None:
        """At start, in one line. `settings`: what the names of the settings begin with."""
        if (self.certificate is None) != (self.key is None):
            raise Refused(f"{settings}_tls_cert_file and {settings}_tls_key_file go together")
        for setting, file in (
            (f"{settings}_ca_file", self.ca),
            (f"{settings}_tls_cert_file", self.certificate),
            (f"{settings}_tls_key_file", self.key),
        ):
            _check_file(setting, file)
        try:
            self.context()
        except OSError as error:
            raise Refused(
                f"{settings}_ca_file, {settings}_tls_cert_file, {settings}_tls_key_file:"
                f" no certificates as PEM that belong together: {error}"
            ) from error


def _check_file(setting: str, file: Path | None) -> None:
    if file is None:
        return
    try:
        file.read_bytes()
    except OSError as error:
        raise Refused(f"{setting} {file}: cannot be read: {error}") from error
