"""Graphs in DOT, DAGitty, Tetrad's text and GraphML: the right edges, or the edge, its place and the way out."""

import itertools
import random

import networkx as nx
import pytest

from ppl_disentangle.graphs import as_dag

UNDIRECTED = "is undirected: give it a direction"
BIDIRECTED = "is bidirected, which stands for a common cause without a name: write that cause"
OPEN = "has a circle at one end, as in a PAG, where the direction is not known"


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


DOT = {
    "edges": ("digraph { b -> c; a -> c }", ["a c", "b c"]),
    "a group": ("digraph { {a b} -> c }\n\n", ["a c", "b c"]),
    "groups and a chain": ("digraph { {a b} -> c -> {d e} }", ["a c", "b c", "c d", "c e"]),
    "named subgraphs": (
        "digraph { subgraph s {a b} -> subgraph t {c d} }",
        ["a c", "a d", "b c", "b d"],
    ),
    "a subgraph again": ("digraph { subgraph s {a b} subgraph s -> c }", ["a c", "b c"]),
    "attributes": (
        'strict digraph "G" { node [shape=box]; rankdir=LR; "a" -> "c" [label="x"]; b -> c; }',
        ["a c", "b c"],
    ),
    "clusters": (
        "digraph { subgraph cluster_sky { a -> c; subgraph s { b } } b -> c }",
        ["a c", "b c"],
    ),
    "dir=back": ("digraph { c -> a [dir=back]; b -> c }", ["a c", "b c"]),
    "dir=back by default": ("digraph { a -> c; edge [dir=back]; c -> b }", ["a c", "b c"]),
    "a default of a block": ("digraph { { edge [dir=back] c -> a } b -> c }", ["a c", "b c"]),
    "arrows at both ends, one none": (
        "digraph { a -> c [dir=both, arrowtail=none]; c -> b [dir=both arrowhead=none] }",
        ["a c", "b c"],
    ),
    "shapes of arrows": (
        "digraph { a -> c [arrowhead=vee]; b -> c [arrowhead=onormal] }",
        ["a c", "b c"],
    ),
    "an undirected edge with an arrow": ("graph { a -- c [dir=forward] }", ["a c"]),
    "ports": ("digraph { a:s -> c:n; b:here:sw -> c }", ["a c", "b c"]),
    "comments": ("// x -> y\n# x -> y\n/* x\n-> y */ digraph { a -> c // z\n }", ["a c"]),
    "capitals": ("DiGraph { A -> c }", ["A c"]),
    "only the layout": ("digraph { a -> c; a -> b [style=invis] }", ["a c"]),
    "texts that are joined": ('digraph { "a" + "b" -> "c\\"d" }', ['ab c"d']),
    "numbers": ("digraph { 1 -> -2.5 }", ["1 -2.5"]),
    "labels beside names": ('digraph { a [label="Age"]; a -> c [label=<<b>x</b>>] }', ["a c"]),
    "labels beside numbers": (
        "digraph { 0 [label=X]; 1 [label=Y]; 0 -> 1 [dir=both, arrowtail=none, arrowhead=normal] }",
        ["X Y"],
    ),
    "DAGitty": (
        'dag { bb="0,0,1,1"\nA [exposure,pos="0,1"]\nA -> B [beta=0.5]\nA <- C -> {D E} }',
        ["A B", "C A", "C D", "C E"],
    ),
}


@pytest.mark.parametrize(("text", "edges"), DOT.values(), ids=list(DOT))
@pytest.mark.parametrize("form", ["dot", "gv", "txt", "text"])
def test_edges_of_dot_and_dagitty(text, edges, form, tmp_path):
    source = text if form == "text" else written(tmp_path / f"g.{form}", text)
    assert [" ".join(edge) for edge in as_dag(source).edges] == edges


REFUSED = {
    "dir=both": ("digraph {\n a -> b [dir=both] }", "line 2: the edge 'a <-> b' " + BIDIRECTED),
    "dir=none": (
        "digraph { a -> b\n c -> b [dir=none] }",
        "line 2: the edge 'c -- b' " + UNDIRECTED,
    ),
    "arrowhead=none": ("digraph { a -> b [arrowhead=none] }", "'a -- b' " + UNDIRECTED),
    "a circle": (
        "digraph { a -> b [dir=both, arrowtail=odot] }",
        "line 1: the edge 'a o-> b' " + OPEN,
    ),
    "circles": (
        "digraph { a -> b [dir=both, arrowtail=odot, arrowhead=odot] }",
        "'a o-o b' " + OPEN,
    ),
    "another shape": ("digraph { a -> b [arrowhead=tee] }", "arrowhead=tee does not say which"),
    "another dir": ("digraph { a -> b [dir=up] }", "expected dir among forward, .* got 'up'"),
    "an undirected graph": ("graph { a -- b }", "'a -- b' " + UNDIRECTED),
    "an undirected edge": (
        "digraph { a -- b }",
        "expected the edges of a digraph as '->', got '--'",
    ),
    "a directed edge": ("graph { a -> b }", "expected the edges of a graph as '--', got '->'"),
    "a second graph": ("digraph { a -> b }\ndigraph { b -> c }", "line 2: expected one graph"),
    "no end of an edge": ("digraph { a -> }", "line 1: expected name .* got '}'"),
    "no end": ("digraph { a -> b", "got 'the end of the text'"),
    "no end of a text": ('digraph {\n "a', "line 2: a text in quotes does not end"),
    "no end of a label": ("digraph { a [label=<b", "a label in angle brackets does not end"),
    "another character": ("digraph { a & b }", "unexpected character '&'"),
    "deep": ("digraph " + 200 * "{", "nested more than 100 deep"),
    "bidirected in DAGitty": (
        "dag {\nA -> B\nA <-> B\n}",
        "line 3: the edge 'A <-> B' " + BIDIRECTED,
    ),
    "undirected in DAGitty": ("pdag { A -- B }", "'A -- B' " + UNDIRECTED),
    "a PAG": ("pag { A @-> B }", "'A o-> B' " + OPEN),
    "selection": ("dag { A -> S S [selected] }", r"node 'S' is \[selected\]"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=list(REFUSED))
def test_other_edges_and_damaged_dot_are_refused_in_one_line(text, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        as_dag(written(tmp_path / "g.dot", text))
    assert "directed graph (digraph) in " in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        as_dag(text)


TEXT = {
    "arrows to the left": ("a <- b", ["b a"]),
    "other arrows": ("a → b ← c", ["a b", "c b"]),
    "long arrows": ("a --> b", ["a b"]),
    "names that end in o": ("foo->b; o -> b", ["foo b", "o b"]),
    "comments": ("# causes\na -> b # the first", ["a b"]),
    "Tetrad": (
        "Graph Nodes:\nX1;X2;X3\n\nGraph Edges:\n1. X1 --> X2\n2. X3 --> X2\n",
        ["X1 X2", "X3 X2"],
    ),
}


@pytest.mark.parametrize(("text", "edges"), TEXT.values(), ids=list(TEXT))
def test_edges_of_plain_text(text, edges, tmp_path):
    for source in (text, written(tmp_path / "g.txt", text)):
        assert [" ".join(edge) for edge in as_dag(source).edges] == edges


TEXT_REFUSED = {
    "bidirected": ("a\n\nb <-> c", "line 3: the edge 'b <-> c' " + BIDIRECTED),
    "undirected": ("a -- b", "'a -- b' " + UNDIRECTED),
    "undirected in Tetrad": (
        "Graph Nodes:\nX,Y\nGraph Edges:\n1. X --- Y",
        "'X -- Y' " + UNDIRECTED,
    ),
    "a circle": ("a o-> b", "'a o-> b' " + OPEN),
    "circles": ("a o-o b", "'a o-o b' " + OPEN),
    "brackets": ("A [exposure] -> B", "expected edges such as 'a -> b', got 'A "),
    "braces": ("{a b} -> c", "expected edges such as 'a -> b'"),
}


@pytest.mark.parametrize(("text", "message"), TEXT_REFUSED.values(), ids=list(TEXT_REFUSED))
def test_other_edges_of_plain_text_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        as_dag(text)


YED = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml/graphml">
<key for="node" id="d6" yfiles.type="nodegraphics"/><key for="edge" id="d10" yfiles.type="edgegraphics"/>
<graph edgedefault="directed" id="G">
<node id="n0"><data key="d6"><y:ShapeNode><y:NodeLabel>blood
pressure</y:NodeLabel></y:ShapeNode></data></node>
<node id="n1" yfiles.foldertype="group"><data key="d6"><y:GroupNode><y:NodeLabel>patient</y:NodeLabel>
</y:GroupNode></data><graph edgedefault="directed" id="n1:"><node id="n1::n0"><data key="d6"><y:ShapeNode>
<y:NodeLabel>LABEL<y:LabelModel/></y:NodeLabel></y:ShapeNode></data></node></graph></node>
<edge id="e0" source="n1::n0" target="n0"><data key="d10"><y:PolyLineEdge>
<y:Arrows source="SOURCE" target="TARGET"/></y:PolyLineEdge></data></edge>
</graph></graphml>"""


def yed(source, target, label="age"):
    return YED.replace("SOURCE", source).replace("TARGET", target).replace("LABEL", label)


@pytest.mark.parametrize(
    ("arrows", "edge"),
    [
        (("none", "standard"), ("age", "blood pressure")),
        (("delta", "none"), ("blood pressure", "age")),
    ],
)
def test_names_and_arrows_of_yed(arrows, edge, tmp_path):
    dag = as_dag(written(tmp_path / "g.graphml", yed(*arrows)))
    assert (list(dag), list(dag.edges)) == (["age", "blood pressure"], [edge])


def test_graphml_of_networkx_is_the_same_graph(tmp_path):
    for graph in (nx.DiGraph([("b", "a"), ("b", "c")]), nx.MultiDiGraph([("b", "a"), ("b", "c")])):
        nx.write_graphml(graph, tmp_path / "g.graphml")
        assert list(as_dag(tmp_path / "g.graphml").edges) == [("b", "a"), ("b", "c")]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><graphml>&b;</graphml>'
EMPTY = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{}</graphml>'
GRAPHML_REFUSED = {
    "bidirected": (
        yed("standard", "standard"),
        "edge e0: the edge 'age <-> blood .* " + BIDIRECTED,
    ),
    "undirected": (yed("none", "none"), "edge e0: the edge 'age -- blood pressure' " + UNDIRECTED),
    "another arrow": (yed("none", "crows_foot_one"), "edge e0: an arrow of shape 'crows_foot_one'"),
    "a label twice": (yed("none", "standard", "blood pressure"), "have the same label 'blood pres"),
    "no label": (yed("none", "standard", ""), "node 'n1::n0' has no label"),
    "an undirected graph": (
        "".join(nx.generate_graphml(nx.Graph([("a", "b")]))),
        "'a -- b' " + UNDIRECTED,
    ),
    "entities": (BOMB, "without a document type, which may declare entities"),
    "a second graph": (EMPTY.format("<graph/><graph/>"), "with one graph, got 2"),
    "a hyperedge": (EMPTY.format("<graph><hyperedge/></graph>"), "got a hyperedge"),
    "an edge to nowhere": (
        EMPTY.format('<graph><edge source="a" target="b"/></graph>'),
        "expected edges between nodes, got one of 'a'",
    ),
    "no end": ("<graphml>", "not well formed"),
    "another document": ("<html/>", "got 0 in <html>"),
}


@pytest.mark.parametrize(("text", "message"), GRAPHML_REFUSED.values(), ids=list(GRAPHML_REFUSED))
def test_other_edges_and_damaged_graphml_are_refused_in_one_line(text, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        as_dag(written(tmp_path / "g.graphml", text))
    assert str(error.value).startswith(f"expected a directed graph in {tmp_path}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".dot", ".gv", ".graphml", ".csv", ".txt"])
@pytest.mark.parametrize("content", [b"", b" \n", b"\x89PNG\r\n\x1a\n\xff\xfe", b"a -> b\0", None])
def test_files_that_hold_no_text_are_refused_in_one_line(content, suffix, tmp_path):
    path = tmp_path / f"g{suffix}"
    path.write_bytes(content) if content is not None else path.mkdir()
    with pytest.raises(ValueError, match=f"in {path}: (the file is empty|got no text|it is not)"):
        as_dag(path)


@pytest.mark.parametrize(
    "text",
    [
        ",a,b\na,0,1\nb,,0\n",
        ",a,b\na,0,y\nb,0,0\n",
        ",a,b\na,0,1\nb,0,0,7,8\n",
        "cause,effect\na,b\n",
    ],
)
def test_a_table_that_is_no_adjacency_matrix_is_refused_in_one_line(text, tmp_path):
    with pytest.raises(
        ValueError, match=r"expected a square adjacency matrix in .*g\.csv: "
    ) as error:
        as_dag(written(tmp_path / "g.csv", text))
    assert "\n" not in str(error.value)


def test_text_in_utf_16_and_with_other_line_ends(tmp_path):
    (tmp_path / "g.txt").write_bytes("größe -> b\r\nb -> c".encode("utf-16"))
    assert list(as_dag(tmp_path / "g.txt").edges) == [("b", "c"), ("größe", "b")]


@pytest.mark.filterwarnings("ignore")  # of pydot's grammar
@pytest.mark.parametrize("seed", range(5))
def test_dot_is_read_as_pydot_reads_it(seed):
    pydot = pytest.importorskip("pydot")
    pairs = list(itertools.combinations("abcde", 2))
    edges = random.Random(seed).sample(pairs, 6)
    text = "digraph { node [shape=box] " + " ".join(f'{a} -> "{b}" [color=red];' for a, b in edges)
    (reference,) = pydot.graph_from_dot_data(text + "}")
    expected = [(e.get_source(), e.get_destination().strip('"')) for e in reference.get_edges()]
    assert list(as_dag(text + "}").edges) == sorted(expected)
