#!/bin/sh
# The first process of a lab host, run by unshare(1) in new namespaces: builds the host's view of the file system,
# says so with one line, and becomes an init that reaps. Arguments: host, its lab's folder, environment for
# /opt/sgehub (or empty). Every mount is made in this namespace alone and ends with it.
set -eu
host=$1 root=$2 install=$3

hostname "$host"
# A handle to the lab's folder that stays when /tmp or /home are covered, wherever the folder is.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lab /run/lock /run/opt
chmod 1777 /run/lock
mount --bind "$root" /run/lab
mount -t tmpfs -o mode=1777 tmpfs /dev/shm

# /opt: what the machine has there stays visible, two names are the lab's.
mount -t tmpfs -o mode=755 tmpfs /run/opt
for child in /opt/* /opt/.[!.]*; do
    name=${child##*/}
    case $name in sge | sgehub) continue ;; esac
    if [ -L "$child" ]; then
        cp -P "$child" "/run/opt/$name"
    elif [ -d "$child" ]; then
        mkdir "/run/opt/$name"
        mount --rbind "$child" "/run/opt/$name"
    elif [ -e "$child" ]; then
        : >"/run/opt/$name"
        mount --bind "$child" "/run/opt/$name"
    fi
done
mkdir /run/opt/sge
mount --bind /run/lab/sge /run/opt/sge
if [ -n "$install" ]; then
    mkdir /run/opt/sgehub
    mount --bind "$install" /run/opt/sgehub
fi
mount --move /run/opt /opt

own=/run/lab/hosts/$host
mount --bind /run/lab/etc /etc
mount --bind /run/lab/home /home
mount --bind "$own/srv" /srv
mount --bind "$own/spool" /var/spool/gridengine
mount --bind "$own/vartmp" /var/tmp
mount --bind "$own/tmp" /tmp
umount /run/lab
rmdir /run/lab /run/opt

echo ready
exec tini -s -- sleep infinity </dev/null >/dev/null 2>&1
