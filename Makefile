# Each target does its own set-up; see deploy/setup.sh.
.PHONY: sbom help demo test check fuzz faults bench bench-triton fix

help:
	@echo "make demo   send a real head through the whole loop and show every stage"
	@echo "make test   all tests, against the real neighbours"
	@echo "make check  lint, format and types"
	@echo "make fuzz   broken connections and broken files, some 20,000 of each"
	@echo "make faults 300 kills of gateways and workers, and a table of what was lost"
	@echo "make sbom   every installed package with version and licence, as CycloneDX (sbom.cdx.json)"
	@echo "make bench  receiving, loading, SEG and the loop timed beside the neighbours, as tables"
	@echo "make bench-triton  networks on Triton beside the same in this process, as tables"

demo:
	@deploy/setup.sh demo
	@.venv/bin/wetread demo $(if $(STUDY),--study $(STUDY)) 2>demo.log || { cat demo.log >&2; exit 1; }

test:
	@deploy/setup.sh test
	.venv/bin/pytest --numprocesses 2 --max-worker-restart 0 --dist loadfile --hypothesis-profile repeatable

check:
	@deploy/setup.sh test
	.venv/bin/ruff check apps tests
	.venv/bin/ruff format --check apps tests
	.venv/bin/mypy
	cd apps/annotate && MYPYPATH=..:. ../../.venv/bin/mypy --config-file ../../pyproject.toml \
		--explicit-package-bases -p lib -m main -m serve

fuzz:
	@deploy/setup.sh test
	.venv/bin/pytest tests/fuzz --hypothesis-profile fuzz --timeout 0 -x

faults:
	@deploy/setup.sh test
	.venv/bin/python tests/faults/campaign.py

bench-triton:
	@deploy/setup.sh bench
	.venv/bin/python tests/benchmarks/triton.py

bench:
	@deploy/setup.sh bench
	.venv/bin/python tests/benchmarks/run.py

sbom:
	@deploy/setup.sh sbom
	@.cache/sbom/bin/cyclonedx-py environment .venv --pyproject pyproject.toml --mc-type application \
		--output-reproducible --validate --of JSON --output-file sbom.cdx.json
	@echo "sbom.cdx.json"

fix:
	.venv/bin/ruff check --fix apps tests
	.venv/bin/ruff format apps tests
