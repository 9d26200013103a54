package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity outlives any playground; nothing rotates these keys, a new cluster makes new ones.
const validity = 10 * 365 * 24 * time.Hour

// leaf is one certificate signed by the cluster's own authority.
type leaf struct {
	file         string
	commonName   string
	organization string
	usage        x509.ExtKeyUsage
}

// The API server serves as `apiserver`, speaks to nodes as `apiserver-kubelet`; every node serves its logs
// as `node`. All live on loopback addresses.
var leaves = []leaf{
	{"apiserver", "kube-apiserver", "", x509.ExtKeyUsageServerAuth},
	{"apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters", x509.ExtKeyUsageClientAuth},
	{"node", "node", "system:nodes", x509.ExtKeyUsageServerAuth},
}

var serverNames = []string{
	"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
}

// writeKeys fills directory with ca.crt, ca.key, one .crt and .key for each leaf, and the pair sa.key, sa.pub that
// signs and verifies service account tokens.
func writeKeys(directory string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	authority, authorityKey, err := writeAuthority(directory)
	if err != nil {
		return fmt.Errorf("authority: %w", err)
	}
	for _, one := range leaves {
		if err := writeLeaf(directory, one, authority, authorityKey); err != nil {
			return fmt.Errorf("%s: %w", one.file, err)
		}
	}
	return writeServiceAccountKeys(directory)
}

func writeAuthority(directory string) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := certificate("atelier-playground", "")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	signed, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, nil, err
	}
	return signed, key, writePair(directory, "ca", raw, key)
}

func writeLeaf(directory string, one leaf, authority *x509.Certificate, authorityKey crypto.Signer) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := certificate(one.commonName, one.organization)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{one.usage}
	if one.usage == x509.ExtKeyUsageServerAuth {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		template.DNSNames = serverNames
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), authorityKey)
	if err != nil {
		return err
	}
	return writePair(directory, one.file, raw, key)
}

func certificate(commonName, organization string) *x509.Certificate {
	subject := pkix.Name{CommonName: commonName}
	if organization != "" {
		subject.Organization = []string{organization}
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the system's random source never fails on a machine that can start a cluster
	}
	// An hour of slack: the clock of a virtual machine may step back after its start.
	start := time.Now().Add(-time.Hour)
	return &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: start, NotAfter: start.Add(validity)}
}

func writeServiceAccountKeys(directory string) error {
	// The API server picks RS256 for an RSA key, the algorithm that every token verifier knows.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePrivate(directory, "sa", key); err != nil {
		return err
	}
	return writePEM(filepath.Join(directory, "sa.pub"), "PUBLIC KEY", public, 0o644)
}

func writePair(directory, name string, raw []byte, key crypto.Signer) error {
	if err := writePEM(filepath.Join(directory, name+".crt"), "CERTIFICATE", raw, 0o644); err != nil {
		return err
	}
	return writePrivate(directory, name, key)
}

func writePrivate(directory, name string, key crypto.Signer) error {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(directory, name+".key"), "PRIVATE KEY", raw, 0o600)
}

func writePEM(path, kind string, raw []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), mode)
}
