"""Style of report.html: light and dark, narrow and wide, for print, with colours for colour-blind readers."""

STYLE = """
:root{--bg:#fff;--fg:#1b1f24;--dim:#5a6472;--line:#dfe3e8;--box:#f5f7f9;--k0:#0072b2;--k1:#d55e00;--k2:#009e73;--k3:#a3548a}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--dim:#9aa5b1;--line:#323840;--box:#1d2127;
--k0:#56b4e9;--k1:#f28e4b;--k2:#2fbf96;--k3:#dd9cc6}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1240px;margin:0 auto;padding:1.5rem 1rem}
h1{margin:0;font-size:1.6rem;overflow-wrap:anywhere}
h2{margin:2rem 0 .5rem;font-size:1.15rem}
.lead,.note{margin:.2rem 0 1rem;color:var(--dim)}
small{color:var(--dim);font-size:.8rem;font-weight:400}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.6rem;margin:1rem 0}
.tiles div{background:var(--box);border-radius:6px;padding:.6rem .8rem}
dt{color:var(--dim);font-size:.85rem}
dd{margin:0;font-size:1.2rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
dd small{display:block}
figure{margin:0;break-inside:avoid}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 .8rem;margin:.6rem 0 .1rem;font-size:.9rem}
figcaption b{font-weight:600;margin-right:auto}
figcaption{min-height:1.4em}
figcaption span{display:flex;gap:.7rem;white-space:nowrap;font-variant-numeric:tabular-nums}
span.k0{color:var(--k0)}span.k1{color:var(--k1)}span.k2{color:var(--k2)}span.k3{color:var(--k3)}
.curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:.4rem 1.4rem}
svg{display:block;width:100%;height:auto}
svg text{font:11px system-ui,sans-serif;fill:var(--dim)}
svg path{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
svg .grid{stroke:var(--line);stroke-width:1}
svg .mark{stroke:var(--dim);stroke-width:1;stroke-dasharray:4 3}
svg .raw{stroke-width:1;opacity:.3}
path.k0{stroke:var(--k0)}path.k1{stroke:var(--k1)}path.k2{stroke:var(--k2)}path.k3{stroke:var(--k3)}
circle.k0{fill:var(--k0)}circle.k1{fill:var(--k1)}circle.k2{fill:var(--k2)}circle.k3{fill:var(--k3)}
.wide,.rows{overflow:auto}
.rows{max-height:26rem;width:fit-content;max-width:100%;border:1px solid var(--line);border-radius:6px}
.strip{min-width:580px}
.strip img{display:block;width:100%}
.heads{display:grid;grid-auto-flow:column;grid-auto-columns:1fr;align-items:end;font-size:.85rem}
.heads small{display:block}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:left;border-bottom:1px solid var(--line);overflow-wrap:anywhere;
vertical-align:top}
td{white-space:nowrap}td:last-child{white-space:normal;min-width:9rem}
tr:last-child td{border-bottom:0}
thead th{position:sticky;top:0;background:var(--box);font-weight:600;font-size:.85rem;white-space:nowrap}
.best td{font-weight:600;color:var(--k2)}
pre{margin:0;padding:.7rem .9rem;background:var(--box);border-radius:6px;overflow:auto;font-size:.85rem;
white-space:pre-wrap;overflow-wrap:anywhere}
summary{cursor:pointer;margin:.6rem 0}
footer{margin-top:2rem;color:var(--dim);font-size:.85rem}
@media print{:root{--bg:#fff;--fg:#000;--dim:#444;--line:#ccc;--box:#f5f5f5;
--k0:#0072b2;--k1:#d55e00;--k2:#009e73;--k3:#a3548a}
html,body{font-size:11px}main{max-width:none;padding:0}.rows{max-height:none;border:0}h2{break-after:avoid}.strip{min-width:0}
.curves{grid-template-columns:repeat(3,1fr)}details>pre{break-inside:auto}}
"""
