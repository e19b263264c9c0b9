#!/bin/sh
# The root of the operator's image: the interpreter, its standard library, the environment with the operator, the shared
# libraries that any of them loads, and the system's certificates. No shell, no package manager, no compiler.
#   image-root.sh ENVIRONMENT ROOT
set -eu
environment=$1
root=$2

python=$(readlink -f "$environment/bin/python")
library=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')

copy() { # each path to the same place below the root; what a link points to in its place
  for path in "$@"; do
    mkdir -p "$root$(dirname "$path")"
    cp -RL "$path" "$root$(dirname "$path")/"
  done
}

mkdir -p "$root$(dirname "$environment")" "$root/tmp" "$root/etc"
chmod 1777 "$root/tmp"
cp -R "$environment" "$root$environment"
copy "$python" "$library"
ln -sf "$python" "$root$environment/bin/python"
# What is for building and testing Python programs, not for running one.
for part in ensurepip idlelib lib2to3 test tkinter turtledemo; do rm -rf "${root:?}$library/$part"; done
rm -rf "$root$library"/config-* "$root$library/site-packages" "$root$library/dist-packages"
rm -f "$root$environment"/bin/[Aa]ctivate*

# The loader and all libraries by name, as the loader finds them here; the last is loaded when a thread ends.
{
  find "$environment" "$library" -name '*.so*' -type f
  echo "$python"
} | xargs ldd 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u > /tmp/libraries
ldconfig -p | sed -n 's/.*libgcc_s\.so\.1 .*=> //p' >> /tmp/libraries
while read -r path; do
  case $path in "$environment"/*|"$library"/*) ;; *) copy "$path" ;; esac
done < /tmp/libraries
copy /etc/ld.so.cache

# Names of users, and whom TLS trusts.
copy /etc/passwd /etc/group /etc/ssl
rm -rf "$root/etc/ssl/private"
mkdir -p "$root/usr/lib"
cp -R /usr/lib/ssl "$root/usr/lib/" # links into /etc/ssl
