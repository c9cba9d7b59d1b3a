"""Pages of the documentation that follow from the code.

python -m docs.generate            writes them anew
python -m docs.generate --check    exits with status 1 if one of them is behind the code
"""
