"""The checks behind `check("1.2", answer)`: one module per notebook, `n01` for notebook 01."""
