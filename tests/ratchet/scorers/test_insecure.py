"""ratchet.scorers.insecure: for each pattern a bad form and the good one beside it."""

from __future__ import annotations

import ast

import pytest

from ratchet.scorers.insecure import CALLS, find_insecure

PAIRS = [
    ("eval", "eval(text)", "ast.literal_eval(text)"),
    ("eval", "exec(code)", "eval('1 + 1')"),
    ("pickle", "import pickle\npickle.loads(b)", "import json\njson.loads(b)"),
    ("pickle", "from pickle import loads as l\nl(b)", "from json import loads as l\nl(b)"),
    ("pickle", "import pickle as p\np.load(f)", "import pickle as p\np.dump(x, f)"),
    ("shell", "subprocess.run(cmd, shell=True)", "subprocess.run(['ls', path])"),
    ("shell", "os.system('rm ' + path)", "os.remove(path)"),
    ("yaml_load", "yaml.load(f)", "yaml.safe_load(f)"),
    ("yaml_load", "yaml.load(f, Loader=yaml.Loader)", "yaml.load(f, Loader=yaml.SafeLoader)"),
    ("no_tls_check", "requests.get(url, verify=False)", "requests.get(url)"),
    ("no_tls_check", "ssl._create_unverified_context()", "ssl.create_default_context()"),
    ("weak_hash", "hashlib.md5(password)", "hashlib.sha256(data)"),
    ("weak_hash", "hashlib.new('SHA1')", "hashlib.md5(data, usedforsecurity=False)"),
    (
        "sql_by_format",
        "c.execute(f'SELECT * FROM t WHERE id = {i}')",
        "c.execute('SELECT * FROM t WHERE i = ?', (i,))",
    ),
    ("sql_by_format", "c.execute('DELETE FROM t WHERE id = %s' % i)", "c.execute('DELETE FROM t ' 'WHERE 1 = 1')"),
    ("sql_by_format", "c.execute('SELECT {}'.format(i))", "c.execute(query)"),
    ("sql_by_format", "c.execute('SELECT ' + name)", "c.execute('SELECT ' + 'a')"),
    ("open_to_all", "app.run(debug=True)", "app.run()"),
    ("temporary_name", "tempfile.mktemp()", "tempfile.mkstemp()"),
    ("untrusted_weights", "torch.load(f)", "torch.load(f, weights_only=True)"),
    ("untrusted_weights", "AutoModel.from_pretrained(n, trust_remote_code=True)", "AutoModel.from_pretrained(n)"),
    ("secret_in_code", "api_key = 'sk-123456'", "api_key = os.environ['KEY']"),
    ("secret_in_code", "db_password: str = 'hunter22'", "password = '<your password>'"),
]


@pytest.mark.parametrize(("name", "bad", "good"), PAIRS)
def test_the_bad_form_is_found_and_the_good_one_is_not(name: str, bad: str, good: str) -> None:
    assert list(find_insecure(ast.parse(bad))) == [name]
    assert list(find_insecure(ast.parse(good))) == []


def test_every_pattern_has_a_pair() -> None:
    assert {name for name, _, _ in PAIRS} == {*CALLS, "secret_in_code"}
