#!/bin/sh
# Build the image of a node for Vagrant's Docker provider: image.sh TAG PUBLIC_KEY
# Debian's own packages only, from the mirror that this machine's apt uses. Needs root, debootstrap and a
# Docker daemon; takes about a minute and a half, and half a gigabyte while it works.
set -eu
tag=$1
key=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' INT TERM HUP

base=lab-os:$(sha256sum "$0" | cut -c1-12) # another list of packages is another base
if ! docker image inspect "$base" >/dev/null 2>&1; then
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' 2>/dev/null | head -n 1 || true)
  packages=systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,nftables,procps,curl,ca-certificates
  packages=$packages,python3,mariadb-server-core
  # shellcheck disable=SC2086 # no mirror found: debootstrap's own default
  debootstrap --variant=minbase --include="$packages" bookworm "$work/rootfs" $mirror
  rm -rf "$work"/rootfs/var/cache/apt/archives/*.deb "$work"/rootfs/var/lib/apt/lists/*
  tar -C "$work/rootfs" -c . | docker import --change 'CMD ["/sbin/init"]' - "$base"
fi
mkdir "$work/context"
cp "$here/Dockerfile" "$work/context/"
cp "$key" "$work/context/key.pub"
docker build --build-arg BASE="$base" -t "$tag" "$work/context"
