# Root inside, an ordinary user outside.
printf 'uid %s gid %s\n' "$(id -u)" "$(id -g)"
printf 'uid_map %s\n' "$(tr -s ' ' </proc/self/uid_map)"
printf 'gid_map %s\n' "$(tr -s ' ' </proc/self/gid_map)"
touch /tmp/file
chown 1000:1000 /tmp/file && stat -c 'chown %u:%g' /tmp/file
mount -t tmpfs none /tmp && echo 'mount allowed in its own namespace'
# Files of the host's root belong to nobody here.
stat -c 'owner of / is %u' /
