"""Measured files as laboratories keep them: each works, or says what to do."""

import numpy as np
import pytest

from anajax import devices
from anajax.devices.fitting.measurements import group, read_measurements
from anajax.devices.fitting.sheets import clean

PLAIN = """cell,target,programmed,time,read
1,10,10.1,0,10.1
1,10,10.1,60,9.8
2,5,5.1,0,5.1
2,5,5.1,60,5.0
"""
COLUMNS = {
    "cell": [1, 1, 2, 2],
    "target": [10, 10, 5, 5],
    "programmed": [10.1, 10.1, 5.1, 5.1],
    "time": [0, 60, 0, 60],
    "read": [10.1, 9.8, 5.1, 5.0],
}
COMMA = PLAIN.replace(",", ";").replace(".", ",")
MESSY = {  # name: text or bytes, options, part of the notes
    "comments.csv": ("# chip 7\n# 25 C\n" + PLAIN + "# end\n", {}, None),
    "savetxt.csv": ("# " + PLAIN, {}, None),
    "semicolons.csv": (COMMA, {}, None),
    "tabs.tsv": (PLAIN.replace(",", "\t"), {}, None),
    "spaces.txt": (PLAIN.replace(",", "   "), {}, None),
    "mark.csv": (PLAIN.encode("utf-8-sig"), {}, None),
    "excel.txt": (PLAIN.replace(",", "\t").encode("utf-16"), {}, None),
    "extra.csv": (
        "operator,cell,target,programmed,time,read,temp\n"
        + "".join(f"Ann,{line},25\n" for line in PLAIN.splitlines()[1:]),
        {},
        None,
    ),
    "named.csv": (
        PLAIN.replace("cell", "die").replace("read", "G"),
        {"columns": "cell=die,read=G"},
        None,
    ),
    "units.csv": (
        PLAIN.replace("time,read", "Time [min],Read (nS)")
        .replace(",60,9.8", ",1,9800").replace(",60,5.0", ",1,5000")
        .replace(",0,10.1", ",0,10100").replace(",0,5.1", ",0,5100"),
        {},
        None,
    ),
    "empty.csv": (
        PLAIN + "3,5,5.0,0,\n3,5,5.0,60,NaN\n4,5,5.0,60,n/a\n",
        {},
        "Dropped 3 of 7 rows: 3 without read.",
    ),
    "wide.csv": (
        "cell,target,programmed,0,1 min\n1,10,10.1,10.1,9.8\n2,5,5.1,5.1,5.0\n",
        {},
        "Read 2 columns as reads at '0', '1 min'.",
    ),
    "twice.csv": (PLAIN + PLAIN.splitlines()[0], {}, "Left out 1 repeated header."),
    "blocks.csv": (  # as a spreadsheet shows them: values once for a block of rows
        PLAIN.replace("1,10,10.1,60", "1,,,60").replace("2,5,5.1,60", "2,,,60"),
        {},
        None,
    ),
    "letters.csv": (
        PLAIN.replace("\n1,", "\nA1,").replace("\n2,", "\nB7,"),
        {},
        None,
    ),
}  # fmt: skip


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", MESSY)
def test_messy_files_are_read_as_plain_ones(name, tmp_path):
    content, options, note = MESSY[name]
    found = clean.read(write(tmp_path, name, content), **options)
    ids = {"letters.csv": ["A1", "A1", "B7", "B7"]}.get(name, COLUMNS["cell"])
    assert found.columns["cell"].tolist() == ids
    for column in ("target", "programmed", "time", "read"):
        np.testing.assert_allclose(found.columns[column], COLUMNS[column])
    assert found.notes == (() if note is None else (note,)) and found.units == "uS"


def test_without_a_column_programmed_the_first_read_stands_for_it(tmp_path):
    text = "cell,target,time,read\n1,10,20,10.1\n1,10,80,9.8\n2,5,20,5.1\n2,5,80,5.0\n"
    found = clean.read(write(tmp_path, "a.csv", text))
    assert found.columns["programmed"].tolist() == [10.1, 5.1]
    assert found.columns["time"].tolist() == [60.0, 60.0]  # since that read
    assert found.columns["read"].tolist() == [9.8, 5.0]
    assert "the first read of each cell (at 20 s or before) takes" in found.notes[0]
    again = text + "1,10,20,11\n1,10,80,10.5\n"  # time falls: written once more
    found = clean.read(write(tmp_path, "b.csv", again))
    assert sorted(found.columns["programmed"]) == [5.1, 10.1, 11.0]
    assert len(set(found.columns["cell"])) == 3


def test_each_write_of_a_cell_counts_as_a_cell(tmp_path):
    text = PLAIN + "2,5,4.8,0,4.8\n2,5,4.8,60,4.7\n"
    path = write(tmp_path, "a.csv", text)
    data = group(path)
    assert sorted(np.asarray(data.programmed).round(3)) == [4.8, 5.1, 10.1]
    assert "2 cells with 3 writes: each write counts" in clean.read(path).notes[0]


def test_ids_of_two_columns_and_units_of_the_header(tmp_path):
    text = "row;col;target (µS);programmed (µS);time (s);R (ohm)\n"
    text += "0;1;10;10,1;0;1e5\n1;0;10;10,2;0;2e5\n"
    path = write(tmp_path, "a.csv", text.encode("cp1252"))
    asked = {"columns": "cell=row+col, read=R"}
    found = clean.read(path, **asked)
    assert found.columns["cell"].tolist() == ["0/1", "1/0"]
    np.testing.assert_allclose(read_measurements(path, **asked)["read"], [10.0, 5.0])


WRONG = {
    "plain.xlsx": (PLAIN, {}, "end in .csv, .tsv, .txt, .dat or .parquet: got .xlsx"),
    "empty.csv": ("\n# nothing\n", {}, "have data rows: got none. Add one row"),
    "header.csv": (PLAIN.split("\n", 1)[1], {}, "have a header: got numbers in line 1"),
    "binary.csv": (bytes(range(256)), {}, "be text: got something else. Export"),
    "words.csv": (PLAIN.replace("9.8", "9.8x"), {}, "line 3, column 'read' has '9.8x'"),
    "commas.csv": (
        PLAIN.replace("10.1", "10,1"),
        {},
        "more in line 2. Separate columns",
    ),
    "other.csv": (
        PLAIN.replace("cell", "die"),
        {},
        "name yours: --columns cell=die. It",
    ),
    "two.csv": (
        PLAIN.replace("cell", "die").replace("read", "G"),
        {},
        "name yours: --columns cell=die,read=G. It",
    ),
    "spaces.csv": (
        PLAIN.replace("cell", "Cell ID").replace("programmed", "G0"),
        {},
        "--columns 'cell=Cell ID,programmed=G0'. It",
    ),
    "typo.csv": (PLAIN, {"columns": "read=raed"}, "got 'raed'. Did you mean 'read'?"),
    "kind.csv": (PLAIN, {"columns": "reed=read"}, "got 'reed'. Use \"read\"."),
    "pairs.csv": (PLAIN, {"columns": "die"}, "NAME=COLUMN: got 'die'. Write cell=die"),
    "unit.csv": (PLAIN.replace("read", "read (V)"), {}, "have a unit in S, mS, uS"),
    "same.csv": (PLAIN.replace("time", "read"), {}, "got ['read'] twice. Rename one."),
    "void.csv": (
        PLAIN.replace("10", "").replace("5", ""),
        {},
        "each without target. Fill",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_says_what_to_do(name, tmp_path):
    content, options, text = WRONG[name]
    with pytest.raises(ValueError) as caught:
        clean.read(write(tmp_path, name, content), **options)
    assert text in str(caught.value)


def test_headers_that_are_no_times_are_no_reads(tmp_path):
    text = "cell,target,programmed,G_1,G_2\n1,10,10.1,10.1,9.8\n"
    with pytest.raises(ValueError, match="none named time, read"):
        clean.read(write(tmp_path, "a.csv", text))
    wide = text.replace("G_1,G_2", "G_1s,t=1e3")
    times = clean.read(write(tmp_path, "b.csv", wide)).columns["time"]
    assert times.tolist() == [1.0, 1000.0]


def test_tables_of_devices_are_read_alike(tmp_path):
    path = write(tmp_path, "a.csv", "# nu\ng;mean;sd\n0;0,06;0,02\n25;0,03;0,01\n")
    made = devices.tabulated(g_max=25.0, drift=path)
    np.testing.assert_allclose(made.drift.nu_mean.value, [0.06, 0.03], rtol=1e-6)
    path.write_text("g,mean,sd\n0,,1\n25,1,1\n")
    with pytest.raises(ValueError, match="number in each row: got none in line 2, co"):
        devices.tabulated(g_max=25.0, drift=path)
