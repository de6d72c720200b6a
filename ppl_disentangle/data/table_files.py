"""Files of tables: csv and tsv as texts that are read strictly, and parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TABLE_SUFFIXES", "read_table"]

TABLE_SUFFIXES = (".csv", ".parquet", ".pq", ".tsv")
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_DELIMITERS = (",", ";", "\t", "|")


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table as a frame.

    A csv file may be UTF-8 (also with a byte order mark), UTF-16 or Latin-1, and its cells may be
    separated by commas, semicolons, tabs or bars. The first row names the columns; a first column
    without a name that counts the rows is the index of pandas, and is left out.

    Args:
        path: Path of a csv, tsv or parquet file.

    Raises:
        ValueError: The file has another format or is damaged, or a row has other cells than the
            header.
        FileNotFoundError: The file does not exist.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise ValueError(f"{path}: expected a file {', '.join(TABLE_SUFFIXES)}, got {suffix!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the file does not exist")
    if suffix in (".parquet", ".pq"):
        return _read_parquet(path)
    return _read_text(path, "\t" if suffix == ".tsv" else None)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise ValueError(
            f"{path}: parquet files need pyarrow: pip install 'ppl-disentangle[tables]'"
        ) from error
    except Exception as error:  # pyarrow's errors are of many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: expected a parquet file, it cannot be read: {reason}") from error


def _read_text(path: Path, delimiter: str | None) -> pd.DataFrame:
    """A file of separated cells, all of them as texts."""
    import pandas as pd

    lines = _lines(path, _decoded(path), delimiter)
    if not lines:
        raise ValueError(f"{path}: expected a header and rows, got an empty file")
    header = [name.strip() for name in lines[0][1]]
    _check_lines(path, header, lines[1:])
    rows = [cells for _, cells in lines[1:]]
    return _without_index(path, pd.DataFrame(rows, columns=header, dtype=object))


def _lines(path: Path, text: str, delimiter: str | None) -> list[tuple[int, list[str]]]:
    """The number and the cells of each line that is not blank."""
    first_line = text.partition("\n")[0]
    delimiter = delimiter or max(_DELIMITERS, key=first_line.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return [(reader.line_num, cells) for cells in reader if not _is_blank(cells)]
    except csv.Error as error:
        raise ValueError(f"{path}: expected cells separated by {delimiter!r}: {error}") from error


def _is_blank(cells: Sequence[str]) -> bool:
    """Whether a line is blank; a line of separators is a row whose cells are all missing."""
    return len(cells) < 2 and not any(map(str.strip, cells))


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    encoding = _BYTE_ORDER_MARKS.get(content[:2], "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        raise ValueError(f"{path}: expected a text file, got binary content")
    return text


def _check_lines(
    path: Path, header: Sequence[str], lines: Sequence[tuple[int, Sequence[str]]]
) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1 and name})
    if repeated:
        raise ValueError(f"{path}: expected different names of columns, got {repeated[0]!r} twice")
    if "" in header[1:]:
        position = header.index("", 1) + 1
        raise ValueError(f"{path}: expected a name of each column, column {position} has none")
    for number, cells in lines:
        if len(cells) != len(header):
            raise ValueError(
                f"{path}: expected {len(header)} cells in each line, line {number} has {len(cells)}"
            )
    if not lines:
        raise ValueError(f"{path}: expected rows below the header, got none")


def _without_index(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without a first column that has no name and counts the rows."""
    if frame.columns[0]:
        return frame
    counted = [str(row) for row in range(len(frame))]
    if frame[""].tolist() not in (counted, [str(row + 1) for row in range(len(frame))]):
        raise ValueError(f"{path}: expected a name of each column, column 1 has none")
    return frame.drop(columns="")
