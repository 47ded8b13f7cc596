#!/bin/sh
# `make install DESTDIR=FOLDER`: the gateway in the places where Debian's policy wants it, staged for a package.
#
#   /usr/lib/dask-gateway                 a virtual environment of the system's Python
#   /usr/lib/systemd/system, sysusers.d, tmpfiles.d
#   /etc/dask-gateway/config.py, launcher.conf     left alone if they are there
#   /var/lib/dask-gateway                 the gateway's own: database and key
#
# Nothing is started, and no account is made: systemd-sysusers and systemd-tmpfiles do that where the files end up.
# Without DESTDIR that is this machine. PIP_ARGS go to pip, for sites with an index of their own.
set -eu
umask 022
destination=${DESTDIR%/}
source=$(cd "$(dirname "$0")/../.." && pwd)
files=$source/deploy/debian
home=/usr/lib/dask-gateway

if [ -n "$destination" ]; then
    case $destination in /*) ;; *) destination=$PWD/$destination ;; esac
fi
into() { # MODE FOLDER FILE...: into a folder of the destination
    mode=$1 folder=$destination$2
    shift 2
    install -d -m 755 "$folder"
    install -m "$mode" "$@" "$folder"
}

"${PYTHON:-/usr/bin/python3}" -m venv --clear "$destination$home"
# shellcheck disable=SC2086
"$destination$home/bin/python" -m pip --quiet --disable-pip-version-check install --no-compile ${PIP_ARGS:-} "$source"

into 644 /usr/lib/sysusers.d "$files/sysusers.d/dask-gateway.conf"
into 644 /usr/lib/tmpfiles.d "$files/tmpfiles.d/dask-gateway.conf"
install -d -m 700 "$destination/var/lib/dask-gateway"
# It may come to hold secrets; tmpfiles.d lets the gateway's account read it.
[ -e "$destination/etc/dask-gateway/config.py" ] || into 600 /etc/dask-gateway "$files/config.py"
[ -e "$destination/etc/dask-gateway/launcher.conf" ] || into 644 /etc/dask-gateway "$files/launcher.conf"

units=$destination/usr/lib/systemd/system
install -d -m 755 "$units"
"$destination$home/bin/dask-gateway-server" systemd-unit --user dask --directory /var/lib/dask-gateway \
    -f "$destination/etc/dask-gateway/config.py" >"$destination$home/units"
while IFS= read -r line; do
    case $line in
        "# --- "*) unit=$units/${line##*/} && : >"$unit" ;;
        *) printf '%s\n' "$line" >>"$unit" ;;
    esac
done <"$destination$home/units"
rm "$destination$home/units"

# What names the folder of the stage is to name the place where it will be.
if [ -n "$destination" ]; then
    grep -rlIF "$destination" "$destination$home/bin" "$destination$home/pyvenv.cfg" "$units" |
        xargs sed -i "s|$destination||g"
fi
"${PYTHON:-/usr/bin/python3}" -m compileall -q -f -s "$destination/" -p / "$destination$home/lib"
