# What `host audit` runs on a host, and nothing else: it only reads. Lines are joined with spaces into one command of sshd's
# force-command, inside single quotes: so no single quote, no comment behind a line, and every line ends as the shell wants it.
# Sections begin with @, what was read with |, what could not be read with !. It answers less than 1 MB, or its end is missing.

LC_ALL=C; PATH=/usr/sbin:/usr/bin:/sbin:/bin; export LC_ALL PATH; set -f;
q() { sed "s/^/| /"; echo; };
n() { printf "! %s\n" "$*"; };
w() { if [ -r "$1" ]; then printf "@ %s\n" "$2 $1"; head -c 65536 "$1" | q; else n "$1: no right to read it"; fi; };
{ echo "jit-bastion-audit 1";
echo "@ id"; id | q;

# name, number, home, shell
A=$( { getent passwd || cat /etc/passwd; } 2>/dev/null | head -n 500 | cut -d: -f1,3,6,7);
echo "@ accounts"; printf "%s\n" "$A" | q;

# what sshd says to somebody who comes from anywhere, for each account that can log in
K="^(passwordauthentication|kbdinteractiveauthentication|pubkeyauthentication|hostbasedauthentication|gssapiauthentication|permitrootlogin|permitemptypasswords|authorizedkeysfile|authorizedkeyscommand|trustedusercakeys|authenticationmethods)[[:space:]]";
P=$(sshd -T 2>/dev/null | sed -n "s/^authorizedkeysfile //p");
if [ "$P" ]; then printf "%s\n" "$A" | while IFS=: read -r u i h s; do case $s in */nologin|*/false|*/sync) continue;; esac;
echo "@ sshd $u"; sshd -T -C "user=$u,host=audit,addr=192.0.2.1" 2>/dev/null | grep -E "$K" | q; done;
else P=".ssh/authorized_keys .ssh/authorized_keys2";
n "sshd -T: only root may ask sshd what is in force; its files stand here instead, as far as they can be read";
set +f; for k in /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf; do [ -e "$k" ] && w "$k" config; done; set -f; fi;

# the standing keys of every account, where sshd looks for them
printf "%s\n" "$A" | while IFS=: read -r u i h s; do for p in $P; do [ "$p" = none ] && continue;
k=$p; case $k in *%h*) k=${k%%%h*}$h${k#*%h};; esac; case $k in *%u*) k=${k%%%u*}$u${k#*%u};; esac; case $k in /*) ;; *) k=$h/$k;; esac;
if [ -e "$k" ]; then w "$k" "keys $u"; else for d in "$h" "${k%/*}"; do if [ -d "$d" ]; then
[ -x "$d" ] || { n "$d: no right to look for the keys of $u"; break; }; fi; done; fi; done; done;

# who has a password, never its hash
if [ -r /etc/shadow ]; then echo "@ passwords"; sed -n "s/^\([^:]*\):[\$_][^:]*:.*/\1/p" /etc/shadow | head -n 500 | q;
else n "/etc/shadow: no right to read it, so who has a password is not known"; fi;

echo "@ groups"; for g in root sudo wheel admin adm docker lxd; do getent group $g; done 2>/dev/null | cut -d: -f1,4 | q;
set +f; if [ -d /etc/sudoers.d ]; then [ -r /etc/sudoers.d ] || n "/etc/sudoers.d: no right to look into it"; fi;
for k in /etc/sudoers /etc/sudoers.d/*; do [ -f "$k" ] && w "$k" sudoers; done;
if command -v last >/dev/null; then echo "@ logins"; last -n 40 -w 2>/dev/null | head -n 60 | cut -c 1-200 | q;
else n "last: it is not installed, so last logins are not known"; fi;
echo "@ end"; } | head -c 900000
