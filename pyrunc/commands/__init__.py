"""The commands: one module each, with its declaration, COMMAND, and main(globals, options, args).

Nothing else may be in here: modules named `list` and `exec` hide the builtins from this file.
"""
