# `make demo` and `make test` work on a fresh clone; both install what they need into .venv.
.PHONY: demo test check install clean

demo: install
	.venv/bin/disdel train digits --epochs 20
	.venv/bin/disdel infer digits

# What only tests need is installed while the code is checked.
test: install
	@scripts/platform-environments & made=$$!; scripts/check; status=$$?; wait $$made; exit $$status
	scripts/test

check: install
	scripts/check

install:
	@scripts/install

clean:
	rm -rf .venv build dist runs
