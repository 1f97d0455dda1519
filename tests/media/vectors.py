"""URLs that must lead nowhere, and addresses that may be reached: what tests of the guard try, in one process
(test_ssrf.py) and against a whole server (test_ssrf_world.py)."""

from __future__ import annotations

INNER = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.1.2.3 127.255.255.254
169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1
192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 240.0.0.1
255.255.255.255
:: ::1 ::2 ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 64:ff9b:1:fffe::7f00:1 100::1 100:0:0:1::1
2001::1 2001:0:7f00:1:: 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe::
3fff::1 4000::1 5f00::1 fc00::1 fd00::1 fd00:ec2::254 fdff:ffff::1 fe80::1 febf::1 fec0::1 ff00::1 ff02::1 ff0e::1
::ffff:192.168.1.1 ::ffff:172.16.0.1 ::ffff:100.64.0.1 ::ffff:0.0.0.0 64:ff9b::c0a8:101 8000::1 1::1
0.0.0.1 127.0.0.2 192.31.196.1 192.52.193.1 192.175.48.1 169.254.169.123 100.100.100.200 224.0.0.251 250.1.2.3
::ffff:198.18.0.1 ::ffff:100.100.100.200 ::ffff:224.0.0.1 ::ffff:255.255.255.255 64:ff9b::10.1.2.3 64:ff9b::100.64.0.1
64:ff9b::192.0.2.1 2002:c0a8:101::1 2002:6440:1:: 2002:e000:1:: 2001:0:4136:e378:8000:63bf:f5ff:fffe 2001:1::1
2001:3::1 2001:1ff:ffff::1 2001:db8:ffff::1 2620:4f:8000::1 3fff:fff::1 fe80::5efe:a00:1 fe80::a9fe:a9fe ff05::1:3
e000::1
""".split()  # noqa: SIM905 one word a line would fill pages

OUTER = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 93.184.215.14 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 169.253.0.1
169.255.0.1 172.15.255.255 172.32.0.1 192.0.1.1 192.167.0.1 192.169.0.1 198.17.0.1 198.20.0.1 223.255.255.255
2606:4700::1111 2a00:1450:4001:800::200e 2001:4860:4860::8888 2620:fe::fe ::ffff:8.8.8.8 64:ff9b::8.8.8.8
""".split()  # noqa: SIM905 one word a line would fill pages

# The same few addresses, in every spelling that some resolver or parser reads.
SPELLINGS = """
http://localhost/ http://LOCALHOST/ http://localhost./ http://127.1/ http://127.0.1/ http://0/ http://0.0.0.0/
http://2130706433/ http://017700000001/ http://0x7f000001/ http://0x7F.1/ http://0177.0.0.1/ http://0x7f.0x0.0x0.0x1/
http://127.0.0.1./ http://127.000.000.001/ http://00000177.1/ http://2852039166/ http://0xa9fea9fe/
http://0251.0376.0251.0376/ http://0xa9.0xfe.0xa9.0xfe/ http://169.254.43518/ http://10.1/ http://167772161/
http://[::1]/ http://[0:0:0:0:0:0:0:1]/ http://[::]/ http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/
http://[0:0:0:0:0:ffff:127.0.0.1]/ http://[::ffff:a9fe:a9fe]/ http://[64:ff9b::7f00:1]/ http://[2002:7f00:1::]/
http://[fe80::1]/ http://[fd00:ec2::254]/ http://[::127.0.0.1]/ http://[0000::1]:80/
http://①②⑦.⓪.⓪.①/ http://127。0。0。1/ http://１２７.0.0.1/ http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/ http://127．0．0．1/
HTTP://127.0.0.1/ hTTpS://127.0.0.1/ http://127.0.0.1:80/ http://127.0.0.1:080/ https://127.1:8443/ http://[::1]:8080/
http://%31%32%37.0.0.1/ http://127%2e0%2e0%2e1/ http://loc%61lhost/ http://%5b::1%5d/ http://127.0.0.1%2f.example/
http://127｡0｡0｡1/ http://١٢٧.٠.٠.١/ http://ｌｏｃａｌｈｏｓｔ/ http://local\u00adhost/ http://local\u200bhost/ http://ﬂocalhost/
http://127.0.0.1#@8.8.8.8/ http://127.0.0.1?@8.8.8.8/ http://127.0.0.1;8.8.8.8/ http://127.0.0.1,8.8.8.8/
http://8.8.8.8,127.0.0.1/ http://127.0.0.1#.example/ http://0x7f.0.1/ http://0x7f.0x000001/ http://017700000001./
http://00000000000000000177.0.0.01/ http://127.0.0.1e0/ http://127.0.0.256/ http://1.2.3.4.5/ http://4294967297/
http://[::ffff:0x7f000001]/ http://[::ffff:127.1]/ http://[0:0:0:0:0:0:127.0.0.1]/ http://[::1]./ http://[::1].example/
http://[64:ff9b::a9fe:a9fe]/ http://[2001:0:4136:e378:8000:63bf:f5ff:fffe]/ http://ip6-localhost/ http://localhost.localdomain/
""".split()  # noqa: SIM905 one word a line would fill pages

MALFORMED = [
    "",
    " ",
    "a.jpg",
    "//8.8.8.8/a.jpg",
    "/etc/passwd",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "ftp://8.8.8.8/a",
    "dict://127.0.0.1:11211/stat",
    "ldap://8.8.8.8/",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "jar:http://8.8.8.8/a!/b",
    "s3://bucket/key",
    "http:/8.8.8.8/",
    "http:8.8.8.8",
    "http://",
    "http:///a",
    "http://:80/",
    "http://?a",
    "http://user@8.8.8.8/",
    "http://user:password@8.8.8.8/",
    "http://8.8.8.8@127.0.0.1/",
    "http://8.8.8.8:80@127.0.0.1/",
    "http://@127.0.0.1/",
    "http://8.8.8.8\\@127.0.0.1/",
    "http://127.0.0.1\\.example.com/",
    "http://8.8.8.8\t/",
    "http://8.8.8.8/a b",
    "http://8.8.8.8/a\r\nX: y",
    "http://8.8.8.8/\x00",
    "http://8.8.8.8/\x7f",
    "http://8.8.8.8/\u2028a",
    "http://127.0.0.1%2f@8.8.8.8/",
    "http://127.0.0.1%00.example.com/",
    "http://[::1",
    "http://::1/",
    "http://[::1%25lo]/",
    "http://[fe80::1%eth0]/",
    "http://[v1.a]/",
    "http://[127.0.0.1]/",
    "http://8.8.8.8:0/",
    "http://8.8.8.8:65536/",
    "http://8.8.8.8:-1/",
    "http://8.8.8.8:a/",
    "http://a..b/",
    "http://" + "a" * 64 + ".example/",
    "http://8.8.8.8/" + "a" * 9000,
    "http:///127.0.0.1/",
    "http:////127.0.0.1/",
    "http:127.0.0.1",
    "http:/127.0.0.1",
    "http:\\\\127.0.0.1\\",
    "http://127.0.0.1:８０/",
    "http://127.0.0.1:+80/",
    "\thttp://127.0.0.1/",
    "ht\ntp://127.0.0.1/",
    "http://12\n7.0.0.1/",
    "http://127.0.0.1\r\n.example/",
    "http://8.8.8.8\u00a0/",
    "http://[::1%250]/",
    "http://[fe80::1%25lo]/",
    "http://[::ffff:127.0.0.1%25lo]/",
    "url:http://127.0.0.1/",
    "feed:http://127.0.0.1/",
    "view-source:http://127.0.0.1/",
    "blob:http://127.0.0.1/a",
    "ws://127.0.0.1/",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "tftp://127.0.0.1/a",
    "sftp://127.0.0.1/a",
    "smb://127.0.0.1/a",
    "netdoc:///etc/passwd",
    "php://filter/resource=/etc/passwd",
    "zip:///etc/passwd",
    "about:blank",
    "mailto:a@127.0.0.1",
    "http:@127.0.0.1/",
    "http://:@127.0.0.1/",
    "http://user:pass%40word@127.0.0.1/",
]

CLOSED_PORTS = [
    1,
    21,
    22,
    23,
    25,
    110,
    143,
    389,
    445,
    3306,
    5432,
    6379,
    8000,
    9200,
    11211,
    2375,
    2379,
    10250,
    18080,
    27017,
    65535,
]

REDIRECTS = [
    "http://127.0.0.1/",
    "http://localhost:6379/",
    "http://169.254.169.254/latest/meta-data/",
    "//169.254.169.254/",
    "https://[::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://8.8.8.8:22/",
    "http://user:password@8.8.8.8/",
    "file:///etc/passwd",
    "gopher://127.0.0.1/",
    "ftp://8.8.8.8/",
    "data:,x",
    "http://[::1",
    "http://10.0.0.1\\@8.8.8.8/",
]
