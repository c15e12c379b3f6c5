#!/bin/sh
# Make a machine a node of the lab, at each start of it: node.sh NODE HOME start|wait
# Its programs, configuration and units come by shared folders; only Debian's own packages are installed.
set -eu
node=$1 home=$2 programs=$3
if [ -z "$home" ]; then
  echo "This machine belongs to no lab yet; run \`LAB_DRIVER=vagrant lab up\`." >&2
  exit 1
fi

case $node in
  mysql*) needed=/usr/sbin/mariadbd package=mariadb-server-core ;;
  todo*) needed=/usr/bin/python3 package=python3 ;;
  *) needed=/usr/sbin/nft package=nftables ;;
esac
if [ ! -x "$needed" ] || [ ! -x /usr/sbin/nft ]; then
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package" nftables
fi

# In a container the programs are their owner's, here as there; systemd starts none for a user it cannot name.
if [ -e /.dockerenv ]; then
  owner=$(stat -c %u "$home/nodes/$node") group=$(stat -c %g "$home/nodes/$node")
  getent group "$group" >/dev/null || groupadd -g "$group" lab
  getent passwd "$owner" >/dev/null || useradd -M -u "$owner" -g "$group" lab
fi

# A virtual machine keeps its data on a disk of its own: databases and shared folders do not go together.
if [ ! -e /.dockerenv ]; then
  for folder in "$home/nodes/$node"/*/; do
    program=$(basename "$folder")
    [ "$program" != units ] && [ "$program" != todo ] || continue
    if [ ! -d "/var/lib/lab/$program" ]; then
      unfinished="/var/lib/lab/.$program"
      rm -rf "$unfinished"
      mkdir -p "$unfinished"
      [ ! -d "$folder/data" ] || cp -R "$folder/data/." "$unfinished/"
      mv "$unfinished" "/var/lib/lab/$program"
    fi
    mkdir -p "$folder/data"
    mountpoint -q "$folder/data" || mount --bind "/var/lib/lab/$program" "$folder/data"
  done
fi

cp "$home/nodes/$node/units"/lab-*.service /etc/systemd/system/
systemctl daemon-reload
[ "$programs" = start ] || exit 0
for program in agent vault mariadb; do
  [ ! -e "/etc/systemd/system/lab-$program.service" ] || systemctl start "lab-$program"
done
