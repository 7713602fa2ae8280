"""Records how DuckDB's own lexer reads tricky text; TestAgainstDuckDB compares ours with it.

    python3 testdata/lexer.py 600 > testdata/lexer.json    # needs the duckdb package, 1.5
"""
import json
import random
import sys

import duckdb

TRICKY = [
    r"select 'a\'; select 'b'", r"select E'a\'; b'; c", "select e'x'';'; 1", "select eE'x;'", "x'a;b' b'0;1' n'a;b'",
    "'a' -- c';\n 'b;' ;", "E'a' \n '\\';' ;", "E'a' '\\';'", "E'a' -- '\n -- x\r '\\';b' ;", "E'a' /* \n */ '\\'", "'a'\n'b\\'", "E'a'\n'b\\''\n'c\\';' ;",
    "$$a;b$$ ;", "$t$a$$;b$t$;", "$1x$a;$1x$", "$t_1$;$t_1$;", "$é$;$é$ ;", "a$$b;$$", "1$$b;$$", "1e$$;$$", "$a$ $b$ ; $a$ ;", "$a ;", "$a-$;$a-$", "$", "$$", "$$$", "$$$$;", "a.$$;$$", "$1$$;$$",
    "/* a ; /* b ; */ ; */ ;", "/* a /* b */ ;", "/**/;", "/*/;*/;", "/***/;", "/* -- */;", "-- /* \n;", "1 */* ; */ ;", "1 -/* ; */ 2;", "//* ; */ ;", "+--;\n;", "a--;\r;", "- - ;", "->-- ;\n;", "<--;\n;", "---;\n;",
    '"a;b" ;', '"a""b;" ;', '"a\\" ;', "\"a';\" ;", "'\";' ;", "`a;b` ;", "# ; \n ;", "a # ;", "a//b;\nc;", "x::INT;", "a:b;", ":a;", "?;", "@x @@y ;", "!= ! ;", "a<=>b;", "||;&&;",
    "1_000 1e5 .5 5. 1.e3 0x1F 1a 1e 1e+ 1.2.3 1_ _1 1e5x", "[1:2] {a:1} (1,2);", "é ü;", "größe 日本;", "a\u00e9$b;", "\\ ; \\", "a\\'b;'", "''';''';", "'';''", "''''", "E'\\\\';", "E'\\\\\\';';", "e;'a'", "E 'a\\';'", "\f;\f'a'",
]
FRAGMENTS = [
    "'", "''", '"', '""', "\\", "\\'", "E'", "e'", "$$", "$a$", "$a", "$", "$1 ", "--", "/*", "*/", "\n", "\r", " ", "\t", "\f", ";", "a", "E", "é", "日", " 1 ", " 1e5 ", " 1.5 ", "_", ".", ",",
    "(", ")", "[", "]", "-", "+", "*", "/", "//", "#", "::", ":", "`", "@", "!", "?", "|", "||", "<", "=>", "->>", "{", "}", "select ", "emit", "~", "%", "^", "&",
]
KINDS = {"identifier": "word", "keyword": "word", "numeric_const": "number", "string_const": "string"}


def record(text):
    tokens, data = [], text.encode()
    for offset, kind in duckdb.tokenize(text):
        name = KINDS.get(str(kind).split(".")[-1], "op")
        if name == "word" and not (chr(data[offset]).isalpha() or data[offset] >= 128 or data[offset : offset + 1] in (b"_", b'"')):
            name = "op"  # DuckDB calls operators of several characters identifiers.
        if name != "op" or data[offset : offset + 1] == b";":
            tokens.append({"at": offset, "kind": name if name != "op" else ";"})
    return {"sql": text, "tokens": tokens}


def main():
    random.seed(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    cases = [record(t) for t in TRICKY]
    for _ in range(int(sys.argv[1])):
        cases.append(record("".join(random.choices(FRAGMENTS, k=random.randint(2, 14)))))
    print("[")
    print(",\n".join(json.dumps(c, ensure_ascii=False) for c in cases))
    print("]")


main()
