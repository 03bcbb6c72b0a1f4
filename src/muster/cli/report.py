"""The command `report`: Snakemake's HTML report of what exists, packed so that it can be passed on."""

import base64
import gzip
import json
import re
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from muster.cli.check import checked_plan, plan_from
from muster.cli.page import NAME, write_page
from muster.cli.run import only_own_config, overrides, snakemake
from muster.cli.scope import configuration, replaced
from muster.cli.summary import figures
from muster.errors import MusterError
from muster.files import write_text
from muster.plan.plan import Plan
from muster.plan.study import LEDGER_PLOTS

_RESULTS = re.compile(r'(<script id="results">\s*var results = )(\{.*?\})(;\s*</script>)', re.DOTALL)
_TEXT = re.compile(r"data:(?:image/svg\+xml|text/csv);.*?base64,(.*)")
_SHAPE = re.compile(
    r'<path id="([\w.-]+)" (d="[^"]*"[^>]*)/>'
)  # a letter or a marker, which a figure draws by its name
LONGEST = 100  # characters of a job's parameters, which the study's YAML has too
UNPACK = """
<script id="packed" type="application/json">@PACKED@</script>
<script>
(async () => {
  const {shapes, files} = JSON.parse(document.getElementById("packed").textContent);
  const unpack = (packed) => {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const shape = JSON.parse(await unpack(shapes));
  for (const [name, packed] of Object.entries(files)) {
    unpack(packed).then((text) => {
      const whole = text.replace(/<path id="([\\w.-]+)"\\/>/g, (_, id) => `<path id="${id}" ${shape[id]}/>`);
      results[name].data_uri = URL.createObjectURL(new Blob([whole], {type: results[name].mime_type}));
    });
  }
})();
</script>"""


def report(args: Namespace) -> int:
    """Snakemake's HTML report of those figures of the plan, and that ledger, which exist: nothing is made for it."""
    only_own_config(args.config)
    settings = json.loads(args.settings) if args.settings else replaced(args)
    plan = plan_from(settings, args.config) if args.settings else checked_plan(configuration(args), args.config)
    output = args.output or Path(plan.config.results) / "report.html"
    made = [str(path) for path in _reportable(plan)]
    if not made:
        raise MusterError(plan.config.results, "holds no ledger and no figure", "Make them first: muster run STUDY")
    # The lock is Snakemake's own when the rule `report` calls this; reporting writes nothing but the page.
    status = snakemake([*made, "--report", str(output), "--nolock", *overrides(settings)])
    if status == 0 and not output.exists():
        raise MusterError(str(output), "Snakemake wrote no report", "See its messages above")
    if status == 0:
        write_text(output, packed(output.read_text(encoding="utf-8")))
        _bring_page(plan, args.config)
        shown = sum(path.endswith(".svg") for path in made)
        print(f"report   {output}: {shown} of {len(list(figures(plan)))} figures")
    return status


def _reportable(plan: Plan) -> list[Path]:
    """The ledger and those figures that exist; without a ledger none that is drawn from it."""
    ledger = Path(plan.config.results, "ledger", "claims.csv")
    judged = ledger.exists()
    found = [
        path for study, name, path in figures(plan) if path.exists() and (judged or not _judged(plan, study, name))
    ]
    return [*([ledger] if judged else []), *found]


def _judged(plan: Plan, study: str, figure: str) -> bool:
    return study not in plan.studies or plan.studies[study].study.figures[figure].plot in LEDGER_PLOTS


def _bring_page(plan: Plan, config: Path) -> None:
    """The ledger's page, to which the report links, if there is none of this ledger yet."""
    from muster.claims.ledger import read_ledger

    folder = Path(plan.config.results, "ledger")
    claims, page = folder / "claims.csv", folder / NAME
    if claims.exists() and not (page.exists() and page.stat().st_mtime >= claims.stat().st_mtime):
        write_page(read_ledger(folder), folder, plan.known, config)


def packed(report: str) -> str:
    """A report with figures and ledger compressed: a tenth of the bytes, and unpacked by the browser when it is opened.

    Shapes that several figures draw, letters above all, are half of what compression leaves: they are kept once. A
    report of another form than that of the Snakemake which this package asks for stays as it is.
    """
    from muster.claims.html import as_script

    found = _RESULTS.search(report)
    if found is None:
        return report
    results, texts = json.loads(found[2]), {}
    for name, result in results.items():
        properties = result.get("job_properties", {})
        if len(given := properties.get("params", "")) > LONGEST:
            properties["params"] = f"{given[:LONGEST]} …"
        if encoded := _TEXT.fullmatch(result["data_uri"]):
            texts[name] = base64.b64decode(encoded[1]).decode()
            result["data_uri"] = ""
    shapes = _shared_shapes(texts.values())
    small = {name: _SHAPE.sub(lambda each: _without(each, shapes), text) for name, text in texts.items()}
    content = {"shapes": _gzip(json.dumps(shapes)), "files": {name: _gzip(text) for name, text in small.items()}}
    unpack = UNPACK.replace("@PACKED@", as_script(content))
    return f"{report[: found.end(1)]}{as_script(results)}{found[3]}{unpack}{report[found.end() :]}"


def _shared_shapes(texts: Iterable[str]) -> dict[str, str]:
    """Name → attributes of the shapes that are the same in every figure that has them, at least two."""
    seen: dict[str, set[str]] = defaultdict(set)
    count: Counter[str] = Counter()
    for text in texts:
        for name, attributes in _SHAPE.findall(text):
            seen[name].add(attributes)
            count[name] += 1
    return {name: attributes.pop() for name, attributes in seen.items() if len(attributes) == 1 and count[name] > 1}


def _without(shape: re.Match[str], shapes: dict[str, str]) -> str:
    return f'<path id="{shape[1]}"/>' if shape[1] in shapes else shape[0]


def _gzip(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
