# `make demo` and `make test` work on a fresh clone; both install what they need into .venv.
.PHONY: demo test check install clean

demo: install
	.venv/bin/disdel train digits --epochs 20
	.venv/bin/disdel infer digits

test: install check
	scripts/platform-environments || true
	scripts/test

check: install
	scripts/check

install:
	@scripts/install

clean:
	rm -rf .venv build dist runs
