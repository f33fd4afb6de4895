# A terminal of its own, with the size that config.json or the caller's terminal gives.
printf 'terminal %s\n' "$(tty)"
printf 'size %s\n' "$(stty size)"
printf 'name? '
read -r name
printf 'hello %s\n' "$name"
